// The frame of both pages: sign in and out, the address, the views, the refresh.

import { Client, ProblemError } from "./api.js";
import { hasCharts } from "./charts.js";
import { askFilter, showKeys, showText } from "./dialogs.js";
import { h, icon, iconButton, renew, replace } from "./dom.js";
import { compact, count, span } from "./format.js";
import { Catalogue, question } from "./question.js";
import { read, setTheme, theme, tokenStore, write } from "./state.js";
import { rfc3339, shifted } from "./time.js";
import { Toolbar } from "./toolbar.js";

const themes = ["auto", "light", "dark"];
const themeIcons = { auto: "auto", light: "sun", dark: "moon" };

/**
 * Runs a page.
 *
 * @param page `{ title, brand, home, views: [[name, label, make, { isTimeless }]], notice(catalogue) }`
 */
export function run(page) {
  const signIn = document.getElementById("sign-in");
  const input = signIn.querySelector("input");
  const message = signIn.querySelector("[role=alert]");
  let app = null;

  const showSignIn = (text) => {
    delete document.documentElement.dataset.session;
    signIn.hidden = false;
    message.textContent = text;
    input.value = "";
    input.focus();
  };
  const leave = (text) => {
    tokenStore.clear();
    app?.stop();
    app = null;
    // The address may name customers and routes: the next one at this screen need not see them.
    history.replaceState(null, "", location.pathname);
    document.title = page.title;
    showSignIn(text);
  };
  const enter = async (token) => {
    if (!/^[\x21-\x7e]+$/.test(token)) {
      showSignIn("This is not a token: a token begins with sluice_ and has no spaces.");
      return;
    }
    signIn.setAttribute("aria-busy", "true");
    const client = new Client(token, () => {
      if (app) leave("The server no longer takes this token. Sign in with another one.");
    });
    try {
      const meta = await client.meta();
      tokenStore.set(token);
      document.documentElement.dataset.session = "open";
      signIn.hidden = true;
      input.value = "";
      message.textContent = "";
      app = new App(page, client, meta, () => leave("You are signed out."));
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      if (error.status === 401) {
        tokenStore.clear();
        showSignIn("The server does not know this token, or it was revoked or has expired.");
      } else {
        showSignIn(`Not signed in: ${error.message}.`);
      }
    } finally {
      signIn.removeAttribute("aria-busy");
    }
  };
  signIn.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    enter(input.value.trim());
  });
  const token = tokenStore.get();
  if (token) enter(token);
  else showSignIn("");
}

/** The page of somebody who is signed in. */
class App {
  #page;
  #root = document.getElementById("app");
  #context;
  #toolbar;
  #main = h("main", { id: "main", tabindex: "-1" });
  #tabs = h("nav", { class: "tabs", "aria-label": "Views" });
  #fresh = h("div", { class: "fresh" });
  #live = h("div", { class: "visually-hidden", role: "status", "aria-live": "polite" });
  #toast = h("div", { class: "toast", hidden: true });
  #theme = h("span", {});
  #view = null;
  #viewKey = null;
  #timer = null;
  #toastTimer = null;
  #trouble = null;
  #completeTo = null;
  #skew;
  #ending = new AbortController();

  constructor(page, client, meta, onSignOut) {
    this.#page = page;
    this.#skew = Date.parse(meta.now) - Date.now();
    this.#completeTo = meta.complete_to;
    const names = page.views.map(([name]) => name);
    this.#context = {
      client,
      catalogue: new Catalogue(meta),
      state: read(location.hash, names),
      navigate: (patch) => this.#navigate(patch),
      link: (patch) => write({ ...this.#context.state, ...patch }),
      addFilter: (...filter) => this.#addFilter(...filter),
      onAnswer: (answer) => {
        this.#completeTo = answer.complete_to;
        this.#trouble = null;
        this.#drawFreshness();
      },
      onTrouble: (error) => {
        if (error.status === 0) this.#trouble = "no connection";
        else if (error.status >= 500) this.#trouble = error.status === 503 ? "server busy" : "server error";
        this.#drawFreshness();
      },
      emptyRange: () => this.#emptyRange(),
      compactOrWhole: (value) => (value >= 1_000_000 ? compact(value) : count(value)),
      say: (text) => this.#say(text),
      showText,
    };
    this.#toolbar = new Toolbar(this.#context);
    this.#build(onSignOut);
    const listen = (target, event, action) => target.addEventListener(event, action, { signal: this.#ending.signal });
    listen(window, "hashchange", () => {
      this.#context.state = read(location.hash, names);
      this.#apply();
    });
    listen(document, "visibilitychange", () => {
      if (!document.hidden && this.#context.state.live) this.#refresh();
    });
    listen(document, "keydown", (event) => this.#key(event));
    listen(matchMedia("(prefers-color-scheme: dark)"), "change", () => this.#view?.redraw());
    listen(document, "fullscreenchange", () => {
      if (!document.fullscreenElement && this.#context.state.wall) this.#navigate({ wall: false });
    });
    // The address says everything from the start, so that it can be copied.
    history.replaceState(null, "", write(this.#context.state));
    this.#apply();
    this.#clock = setInterval(() => this.#drawFreshness(), 1000);
  }

  #clock;

  /** Ends everything and takes it off the page. */
  stop() {
    this.#ending.abort();
    clearTimeout(this.#timer);
    clearTimeout(this.#toastTimer);
    clearInterval(this.#clock);
    this.#view?.stop();
    document.body.classList.remove("wall", "timeless");
    if (document.fullscreenElement) document.exitFullscreen();
    replace(this.#root);
  }

  #build(onSignOut) {
    const { scope } = this.#context.catalogue;
    const whose = scope.application ?? scope.org ?? "everything";
    const notice = this.#page.notice?.(this.#context.catalogue);
    replace(this.#root,
      h("a", { class: "skip", href: "#main", onclick: (event) => {
        event.preventDefault();
        this.#main.focus();
      } }, "Skip to the content"),
      h("header", { class: "top" },
        h("a", { class: "brand", href: this.#page.home }, h("img", { src: "assets/icon.svg", alt: "", width: 22, height: 22 }),
          h("span", {}, this.#page.brand)),
        h("span", { class: "whose", title: `Scope of the token: ${scope.name}` }, whose),
        this.#tabs,
        h("div", { class: "top-end" },
          this.#fresh,
          iconButton("wall", "Wall: full screen, without controls", () => this.#toggleWall(), { class: "icon-button wall-button" }),
          h("button", { type: "button", class: "icon-button", title: "Theme", "aria-label": "Theme", onclick: () => this.#nextTheme() }, this.#theme),
          h("button", { type: "button", class: "button small", id: "sign-out", onclick: onSignOut }, icon("out"), h("span", {}, "Sign out")))),
      this.#toolbar.element,
      notice && h("p", { class: "notice" }, notice),
      !hasCharts() && h("p", { class: "notice" }, "Charts are not available: the server has no Chart.js (Debian: libjs-chart.js). Tables are shown instead."),
      this.#main, this.#live, this.#toast);
    this.#drawTheme();
  }

  // The address -------------------------------------------------------------------------------

  #navigate(patch) {
    const next = write({ ...this.#context.state, ...patch });
    if (next === location.hash) this.#refresh();
    else location.hash = next;
  }

  #apply() {
    const { state } = this.#context;
    const entry = this.#page.views.find(([name]) => name === state.view);
    document.title = `${entry[1]} · ${this.#page.title}`;
    document.body.classList.toggle("wall", state.wall);
    document.body.classList.toggle("timeless", Boolean(entry[3]?.isTimeless));
    renew(this.#tabs, this.#page.views.map(([name, label]) => h("a", {
      href: this.#context.link({ view: name, by: null, metric: null, sort: null }), "aria-current": name === state.view ? "page" : null,
    }, label)));
    this.#toolbar.draw();
    if (this.#viewKey !== state.view) {
      this.#view?.stop();
      this.#view = entry[2](this.#context);
      this.#viewKey = state.view;
      replace(this.#main, h("h1", { class: "visually-hidden" }, entry[1]), this.#view.element);
      scrollTo(0, 0);
    }
    this.#refresh();
  }

  #addFilter(dimension, value, op = "eq") {
    const text = value === null || value === undefined ? "" : String(value);
    const { filters } = this.#context.state;
    // Two different values of one dimension at once are never what is meant.
    const rest = op === "eq" ? filters.filter((filter) => filter.dimension !== dimension || filter.op !== "eq") : filters;
    if (rest.some((filter) => filter.dimension === dimension && filter.op === op && filter.value === text)) return;
    this.#navigate({ filters: [...rest, { dimension, op, value: text }] });
  }

  // Refresh -----------------------------------------------------------------------------------

  async #refresh() {
    clearTimeout(this.#timer);
    this.#context.client.beginRefresh();
    const view = this.#view;
    await view.refresh();
    if (view !== this.#view || this.#ending.signal.aborted) return;
    clearTimeout(this.#timer);
    const { live } = this.#context.state;
    if (live > 0 && !document.hidden) {
      this.#timer = setTimeout(() => {
        this.#toolbar.drawRange();
        this.#refresh();
      }, live * 1000);
    }
  }

  #drawFreshness() {
    const behind = this.#completeTo === null ? null : Math.max(0, (Date.now() + this.#skew - Date.parse(this.#completeTo)) / 1000);
    const tone = this.#trouble ? "bad" : behind === null ? "none" : behind < 60 ? "good" : behind < 600 ? "warn" : "bad";
    const text = this.#trouble ?? (behind === null ? "no data yet" : behind < 60 ? "up to date" : `${span(behind)} behind`);
    const isLive = this.#context.state.live > 0;
    const key = `${tone}${text}${isLive}`;
    if (this.#fresh.dataset.key === key) return;
    this.#fresh.dataset.key = key;
    this.#fresh.title = this.#completeTo === null ? "No log has been read yet" : `Complete to ${this.#completeTo}`;
    replace(this.#fresh, h("span", { class: `dot dot-${tone}${isLive ? " pulse" : ""}` }), h("span", {}, isLive ? `Live, ${text}` : text));
  }

  #emptyRange() {
    const find = h("button", { type: "button", class: "button primary", onclick: () => this.#findData() }, "Go to the latest data");
    return h("div", { class: "empty large" },
      h("p", {}, "No requests in this range"),
      h("p", { class: "detail" }, this.#context.state.filters.length > 0 ? "The filters may rule out what there is." : "Nothing was recorded, or it is at another time."),
      find);
  }

  /** Looks for the last days on which there was something, and shows the week that ends there. */
  async #findData() {
    const { client, state } = this.#context;
    const ask = (range, step) => client.usage(question(state, { metrics: ["requests"], step, range, limit: 10_000 }));
    try {
      const months = (await ask({ from: "1990-01-01T00:00:00Z", to: "now" }, "1mo")).rows;
      if (months.length === 0) {
        this.#say("There is nothing at any time.");
        return;
      }
      const last = Date.parse(months.at(-1).bucket);
      const days = (await ask({ from: rfc3339(last), to: rfc3339(last + 32 * 86_400_000) }, "1d")).rows;
      const end = Date.parse(days.at(-1).bucket) + 86_400_000;
      // From the first day of the last week with anything, so that the chart is not half empty.
      const start = days.map((day) => Date.parse(day.bucket)).find((day) => day >= end - 7 * 86_400_000);
      this.#navigate({ from: rfc3339(start), to: rfc3339(end) });
    } catch (error) {
      this.#say(error.message);
    }
  }

  // Small things ------------------------------------------------------------------------------

  #say(text) {
    this.#live.textContent = text;
    this.#toast.textContent = text;
    this.#toast.hidden = false;
    clearTimeout(this.#toastTimer);
    this.#toastTimer = setTimeout(() => {
      this.#toast.hidden = true;
    }, 4000);
  }

  #drawTheme() {
    replace(this.#theme, icon(themeIcons[theme()]));
    this.#theme.parentElement.title = `Theme: ${theme()}`;
    this.#theme.parentElement.setAttribute("aria-label", `Theme: ${theme()}`);
  }

  #nextTheme() {
    setTheme(themes[(themes.indexOf(theme()) + 1) % themes.length]);
    this.#drawTheme();
    this.#view?.redraw();
  }

  #toggleWall() {
    const wall = !this.#context.state.wall;
    if (wall) document.documentElement.requestFullscreen?.().catch(() => {});
    else if (document.fullscreenElement) document.exitFullscreen();
    this.#navigate({ wall, live: wall && !this.#context.state.live ? 30 : this.#context.state.live });
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.closest?.("input, select, textarea")) return;
    const { state, navigate } = this.#context;
    const view = this.#page.views[Number(event.key) - 1];
    if (view) navigate({ view: view[0], by: null, metric: null, sort: null });
    else if (event.key === "r") this.#refresh();
    else if (event.key === "f") askFilter(this.#context);
    else if (event.key === "[") navigate(shifted(state, -1));
    else if (event.key === "]") navigate(shifted(state, 1));
    else if (event.key === "t") this.#nextTheme();
    else if (event.key === "w" || (event.key === "Escape" && state.wall)) this.#toggleWall();
    else if (event.key === "?") {
      showKeys([
        [`1 – ${this.#page.views.length}`, "views"], ["f", "add a filter"], ["[  ]", "earlier, later"], ["r", "refresh"],
        ["t", "theme"], ["w", "wall"], ["?", "this list"],
      ]);
    } else return;
    event.preventDefault();
  }
}
