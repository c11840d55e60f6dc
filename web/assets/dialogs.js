// The few dialogs: a range, a filter, a text to copy, the keys.

import { h, replace } from "./dom.js";
import { dimensionName, question, valueText } from "./question.js";
import { fromLocalInput, instant, localInput, rfc3339 } from "./time.js";

/** Opens a modal dialog; the browser keeps the focus inside and closes it with Escape. */
export function open(title, content, { submit, onSubmit, onClose } = {}) {
  const close = () => dialog.close();
  const form = h("form", { method: "dialog", onsubmit: (event) => {
    event.preventDefault();
    if (!onSubmit || onSubmit() !== false) close();
  } },
  h("h2", {}, title), content,
  h("div", { class: "dialog-actions" },
    h("button", { type: "button", class: "button", onclick: close }, submit ? "Cancel" : "Close"),
    submit && h("button", { type: "submit", class: "button primary" }, submit)));
  const dialog = h("dialog", { "aria-label": title, onclose: () => {
    dialog.remove();
    onClose?.();
  } }, form);
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Asks for a range on the clock of the chosen zone. */
export function askRange(context) {
  const { state } = context;
  const value = (text) => localInput(instant(text), state.tz);
  const from = h("input", { type: "datetime-local", name: "from", value: value(state.from), required: true });
  const to = h("input", { type: "datetime-local", name: "to", value: value(state.to), required: true });
  const wrong = h("p", { class: "wrong", role: "alert" });
  open("Range", [
    h("label", {}, "From", from), h("label", {}, "To", to),
    h("p", { class: "detail" }, `On the clock of ${state.tz}.`), wrong,
  ], {
    submit: "Show",
    onSubmit: () => {
      const [start, end] = [fromLocalInput(from.value, state.tz), fromLocalInput(to.value, state.tz)];
      if (!(start < end)) {
        wrong.textContent = "The end has to be after the start.";
        return false;
      }
      context.navigate({ from: rfc3339(start), to: rfc3339(end) });
      return true;
    },
  });
}

const operators = {
  eq: "is", ne: "is not", in: "is one of (commas between)", nin: "is none of (commas between)", prefix: "begins with",
};

/** Asks for a filter; values that occur in the range are suggested. */
export function askFilter(context) {
  const { catalogue } = context;
  const dimension = h("select", { name: "dimension" },
    catalogue.dimensions.map((name) => h("option", { value: name }, dimensionName(name))));
  const op = h("select", { name: "op" }, catalogue.meta.filter_operators.map((name) =>
    h("option", { value: name }, operators[name] ?? name)));
  const suggestions = h("datalist", { id: "filter-values" });
  const value = h("input", { name: "value", list: "filter-values", autocomplete: "off", spellcheck: "false" });
  const suggest = async () => {
    const name = dimension.value;
    replace(suggestions);
    try {
      const answer = await context.client.usage(question({ ...context.state, filters: [] }, {
        metrics: ["requests"], groups: [name], order: "-requests", limit: 200,
      }));
      if (dimension.value !== name) return;
      replace(suggestions, answer.rows.filter((row) => row[name] !== null)
        .map((row) => h("option", { value: row[name] }, valueText(row[name]))));
    } catch {
      // Without suggestions the value can still be typed.
    }
  };
  dimension.addEventListener("change", suggest);
  suggest();
  open("Filter", [
    h("label", {}, "Dimension", dimension), h("label", {}, "Condition", op),
    h("label", {}, "Value", value), suggestions,
    h("p", { class: "detail" }, "An empty value means: not there."),
  ], {
    submit: "Add",
    onSubmit: () => context.addFilter(dimension.value, value.value, op.value),
  });
}

/** Shows a text that the browser would not let us copy. */
export function showText(title, text) {
  open(title, h("pre", { class: "snippet", tabindex: "0" }, text));
}

/** Shows the keys. */
export function showKeys(keys) {
  open("Keys", h("dl", { class: "keys" }, keys.map(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)])));
}
