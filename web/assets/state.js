// What is shown, kept in the address, so that every view can be linked to and gone back to.
// The address never holds the token.

import { isTime, isZone, localZone, steps } from "./time.js";

const themeKey = "sluice.theme";
const tokenKey = "sluice.token";

/** Refresh intervals in seconds; 0 is off. */
export const liveIntervals = [0, 5, 10, 30, 60, 300];

/** Reads the address; what cannot be used is replaced by what is usual. */
export function read(hash, views) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const parameters = new URLSearchParams(query);
  const pick = (name, usual, isFine) => {
    const value = parameters.get(name);
    return value !== null && isFine(value) ? value : usual;
  };
  return {
    view: views.includes(path) ? path : views[0],
    from: pick("from", "-24h", isTime),
    to: pick("to", "now", isTime),
    tz: pick("tz", localZone(), isZone),
    step: pick("step", "auto", (value) => value in steps),
    live: Number(pick("live", "0", (value) => liveIntervals.includes(Number(value)))),
    by: pick("by", null, (value) => /^[a-z_.]+$/.test(value)),
    metric: pick("metric", null, (value) => /^[a-z_0-9]+$/.test(value)),
    sort: pick("sort", null, (value) => /^-?[a-z_0-9]+$/.test(value)),
    wall: parameters.get("wall") === "1",
    filters: parameters.getAll("filter").map(parseFilter).filter(Boolean),
    where: parameters.getAll("where").map(parseWhere).filter(Boolean),
    record: pick("record", null, (value) => /^[0-9a-f-]{36}\/[0-9]+$/.test(value)),
  };
}

/** The address of a state. */
export function write(state) {
  const parameters = new URLSearchParams();
  parameters.set("from", state.from);
  parameters.set("to", state.to);
  parameters.set("tz", state.tz);
  if (state.step !== "auto") parameters.set("step", state.step);
  if (state.live) parameters.set("live", String(state.live));
  for (const name of ["by", "metric", "sort"]) {
    if (state[name]) parameters.set(name, state[name]);
  }
  if (state.wall) parameters.set("wall", "1");
  for (const filter of state.filters) parameters.append("filter", filterText(filter));
  // Conditions that only records know would mean nothing to the other views.
  if (state.view === "records") {
    for (const filter of state.where) parameters.append("where", filterText(filter));
    if (state.record) parameters.set("record", state.record);
  }
  // Readable in the address bar: these characters need no escape in a fragment.
  const query = parameters.toString().replaceAll("%3A", ":").replaceAll("%2F", "/").replaceAll("%2C", ",");
  return `#/${state.view}?${query}`;
}

/** `dimension:op:value` in parts; null for what is none. */
export function parseFilter(text) {
  const match = /^([a-z_.]+):(eq|ne|in|nin|prefix):([\s\S]*)$/.exec(text);
  return match ? { dimension: match[1], op: match[2], value: match[3] } : null;
}

/** A condition on records, which has more operators. */
export function parseWhere(text) {
  const match = /^([a-z_]+):(eq|ne|in|nin|prefix|ge|lt):([\s\S]*)$/.exec(text);
  return match ? { dimension: match[1], op: match[2], value: match[3] } : null;
}

/** A filter as the API takes it. */
export function filterText({ dimension, op, value }) {
  return `${dimension}:${op}:${value}`;
}

/** A value within the list of an `in` filter. */
export function listItem(value) {
  return String(value).replace(/[\\,]/g, "\\$&");
}

// What the browser keeps -----------------------------------------------------------------------

/** The token of this tab; gone with the tab. */
export const tokenStore = {
  get: () => sessionStorage.getItem(tokenKey),
  set: (token) => sessionStorage.setItem(tokenKey, token),
  clear: () => sessionStorage.removeItem(tokenKey),
};

/** `auto`, `light` or `dark`. */
export function theme() {
  return document.documentElement.dataset.theme ?? "auto";
}

/** Takes a theme and remembers it. */
export function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  try {
    if (name === "auto") localStorage.removeItem(themeKey);
    else localStorage.setItem(themeKey, name);
  } catch {
    // A browser that keeps nothing still shows the theme until the page is left.
  }
}
