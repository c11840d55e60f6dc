// A card that asks, waits, shows, and says what went wrong.

import { copy, download, h, iconButton, renew, replace } from "./dom.js";
import { curl } from "./question.js";
import { ProblemError } from "./api.js";

/** Text of a panel that has nothing to show. */
export class Nothing {
  constructor(text, detail = "") {
    this.text = text;
    this.detail = detail;
  }
}

/**
 * A panel with a title and a body that `load` fills.
 *
 * `load(signal)` returns the body's nodes, or `Nothing`. While it runs, the former body stays,
 * so that a live view does not flicker. A newer load ends an older one.
 */
export class Panel {
  #title;
  #note = h("span", { class: "note" });
  #tools = h("div", { class: "tools" });
  #body = h("div", { class: "panel-body" });
  #load;
  #context;
  #abort = null;
  #questions = [];
  #path = "v1/usage";
  #csvName = null;
  // The state whose answer is on the page: the same object as long as nobody goes elsewhere.
  #shownState = null;

  constructor(context, { title, className = "", id, load, actions = [] }) {
    this.#context = context;
    this.#load = load;
    this.#title = h("h2", { id: `title-${id}` }, title);
    replace(this.#body, h("div", { class: "skeleton", "aria-hidden": "true" }));
    this.element = h("section", { class: `panel ${className}`, "aria-labelledby": `title-${id}`, id: `panel-${id}` },
      h("div", { class: "panel-head" }, this.#title, this.#note, ...actions, this.#tools), this.#body);
  }

  /** Changes the title. */
  set title(text) {
    this.#title.textContent = text;
  }

  /** A remark beside the title. */
  set note(text) {
    this.#note.textContent = text;
  }

  /** What the panel's CSV and curl buttons give: the parameters of its main question. */
  offer(name, parameters, path = "v1/usage") {
    this.#csvName = name;
    this.#path = path;
    this.#questions = parameters;
    renew(this.#tools,
      iconButton("code", "Copy as curl", () => this.#copyCurl()),
      iconButton("download", "Download CSV", () => this.#downloadCSV(), { "data-csv": name }));
  }

  /** CSV of rows that the page itself has put together. */
  offerText(name, makeText) {
    renew(this.#tools, iconButton("download", "Download CSV",
      () => download(`sluice-${name}.csv`, "text/csv", makeText()), { "data-csv": name }));
  }

  /** Asks anew. */
  async refresh() {
    this.#abort?.abort();
    const abort = new AbortController();
    this.#abort = abort;
    const { state } = this.#context;
    this.element.setAttribute("aria-busy", "true");
    try {
      const content = await this.#load(abort.signal, this);
      if (abort.signal.aborted) return;
      if (content instanceof Nothing) {
        this.#show(h("div", { class: "empty" }, h("p", {}, content.text), content.detail && h("p", { class: "detail" }, content.detail)));
      } else {
        this.#show(content);
      }
      this.#shownState = state;
      delete this.element.dataset.stale;
    } catch (error) {
      if (abort.signal.aborted || error.name === "AbortError") return;
      this.#fail(error, state);
    } finally {
      if (this.#abort === abort) this.element.removeAttribute("aria-busy");
    }
  }

  /** Ends what is under way. */
  stop() {
    this.#abort?.abort();
  }

  #show(content) {
    const nodes = [content].flat(Infinity).filter(Boolean);
    const current = [...this.#body.childNodes];
    // Charts are kept in place: taking a canvas out and in again makes it blink.
    if (nodes.length === current.length && nodes.every((node, index) => node === current[index])) return;
    renew(this.#body, nodes);
  }

  #fail(error, state) {
    this.#context.onTrouble(error);
    // What was true a moment ago says more than that there is no answer now.
    if (this.#shownState === state && error instanceof ProblemError && (error.status === 0 || error.status >= 500)) {
      this.element.dataset.stale = "";
      return;
    }
    this.#shownState = null;
    delete this.element.dataset.stale;
    const isCovered = !(error instanceof ProblemError) || error.kind !== "not-covered";
    if (!(error instanceof ProblemError)) console.error(error);
    this.#show(h("div", { class: isCovered ? "failure" : "empty", role: isCovered ? "alert" : null },
      h("p", {}, error.title ?? "This panel failed"),
      h("p", { class: "detail" }, error.message),
      isCovered && h("button", { type: "button", class: "button", onclick: () => this.refresh() }, "Try again")));
  }

  async #downloadCSV() {
    try {
      const { content, isTruncated } = await this.#context.client.csv(this.#questions, this.#path);
      download(`sluice-${this.#csvName}.csv`, "text/csv;charset=utf-8", content);
      this.#context.say(isTruncated ? "CSV saved; there are more rows than the limit." : "CSV saved.");
    } catch (error) {
      this.#context.say(`No CSV: ${error.message}`);
    }
  }

  async #copyCurl() {
    // Without a limit there is no JSON.
    const isEndless = this.#questions.some(([name, value]) => name === "limit" && value === "none");
    const text = curl(this.#questions, document.baseURI, isEndless ? "csv" : null, this.#path);
    if (await copy(text)) this.#context.say("Copied. The token comes from $SLUICE_TOKEN.");
    else this.#context.showText("This question as a command", text);
  }
}
