// The controls above a view: range, step, zone, refresh, filters.

import { askFilter, askRange } from "./dialogs.js";
import { h, icon, iconButton, renew, replace } from "./dom.js";
import { dimensionName, valueText } from "./question.js";
import { liveIntervals } from "./state.js";
import { instant, localZone, presets, rangeText, shifted, stepNames, steps, zones } from "./time.js";

const opText = { eq: "is", ne: "is not", in: "in", nin: "not in", prefix: "begins with" };

/** The toolbar; `draw` shows the state. */
export class Toolbar {
  #context;
  #ranges = h("div", { class: "choices", role: "group", "aria-label": "Range" });
  #range = h("span", { class: "range-text" });
  #filters = h("div", { class: "filters" });
  #step;
  #zone;
  #live;

  constructor(context) {
    this.#context = context;
    const select = (name, label, options, onTake) => h("label", { class: "control" }, h("span", {}, label),
      h("select", { name, onchange: (event) => onTake(event.target.value) }, options));
    this.#step = select("step", "Step",
      [["auto", "auto"], ...Object.keys(steps).map((name) => [name, stepNames[name]])]
        .map(([value, text]) => h("option", { value }, text)),
      (step) => context.navigate({ step }));
    this.#zone = select("tz", "Zone", zoneOptions(), (tz) => context.navigate({ tz }));
    this.#live = select("live", "Refresh", liveIntervals.map((interval) => h("option", { value: interval },
      interval === 0 ? "off" : interval < 60 ? `every ${interval} s` : `every ${interval / 60} min`)),
    (live) => context.navigate({ live: Number(live) }));
    this.element = h("div", { class: "toolbar" },
      h("div", { class: "toolbar-row" },
        this.#ranges,
        h("div", { class: "range" },
          iconButton("left", "Earlier", () => context.navigate(shifted(context.state, -1))),
          this.#range,
          iconButton("right", "Later", () => context.navigate(shifted(context.state, 1))),
          iconButton("zoom", "Twice as long", () => this.#widen())),
        h("div", { class: "controls" }, this.#step, this.#zone, this.#live)),
      this.#filters);
  }

  /** Shows the state. */
  draw() {
    const { state } = this.#context;
    const isPreset = (from) => state.to === "now" && state.from === from;
    const button = (text, isTaken, onclick, value) => h("button", {
      type: "button", class: "choice", "aria-pressed": String(isTaken), onclick, "data-range": value,
    }, text);
    renew(this.#ranges,
      presets.map(([from, text]) => button(text, isPreset(from), () => this.#context.navigate({ from, to: "now" }), from)),
      button("Custom", !presets.some(([from]) => isPreset(from)), () => askRange(this.#context), "custom"));
    this.drawRange();
    const set = (control, value) => {
      const element = control.querySelector("select");
      if (![...element.options].some((option) => option.value === String(value))) {
        element.append(h("option", { value }, value));
      }
      element.value = String(value);
    };
    set(this.#step, state.step);
    set(this.#zone, state.tz);
    set(this.#live, state.live);
    this.#drawFilters(state.filters);
  }

  /** Shows what the range is by now; one that ends now moves. */
  drawRange() {
    const { from, to, tz } = this.#context.state;
    replace(this.#range, rangeText(instant(from), instant(to), tz));
  }

  #drawFilters(filters) {
    const remove = (filter) => this.#context.navigate({
      filters: this.#context.state.filters.filter((other) => other !== filter),
    });
    renew(this.#filters,
      filters.map((filter) => {
        const text = `${dimensionName(filter.dimension)} ${opText[filter.op]} ${valueText(filter.value)}`;
        return h("span", { class: filter.op === "ne" || filter.op === "nin" ? "chip negative" : "chip" },
          h("span", { class: "chip-name" }, `${dimensionName(filter.dimension)} ${opText[filter.op]}`),
          h("span", { class: "chip-value" }, valueText(filter.value)),
          h("button", { type: "button", title: "Remove this filter", "aria-label": `Remove filter: ${text}`, onclick: () => remove(filter) },
            icon("close")));
      }),
      h("button", { type: "button", class: "add-filter", onclick: () => askFilter(this.#context) }, icon("plus"), "Filter"),
      filters.length > 1 && h("button", {
        type: "button", class: "add-filter", onclick: () => this.#context.navigate({ filters: [] }),
      }, "Remove all"));
  }

  #widen() {
    const { state } = this.#context;
    const now = Date.now();
    const [from, to] = [instant(state.from, now), instant(state.to, now)];
    const half = (to - from) / 2;
    const end = Math.min(to + half, Math.max(now, to));
    const text = (time) => new Date(time).toISOString().replace(/\.\d+Z$/, "Z");
    this.#context.navigate({ from: text(end - 4 * half), to: text(end) });
  }
}

/** UTC and the own zone first, the others by continent. */
function zoneOptions() {
  const own = localZone();
  const first = [h("option", { value: "UTC" }, "UTC")];
  if (own !== "UTC") first.push(h("option", { value: own }, `${own} (here)`));
  const groups = new Map();
  for (const name of zones()) {
    if (name === own || !name.includes("/")) continue;
    const [continent, ...place] = name.split("/");
    if (!groups.has(continent)) groups.set(continent, []);
    groups.get(continent).push(h("option", { value: name }, place.join("/").replaceAll("_", " ")));
  }
  return [...first, ...[...groups].map(([continent, options]) => h("optgroup", { label: continent }, options))];
}
