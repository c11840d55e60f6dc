// Makes elements from data. Text is always set as text: nothing here parses HTML.

const svgNamespace = "http://www.w3.org/2000/svg";

/**
 * An element with attributes and children. A function under a name such as `onclick` is added as a
 * listener; `style` is an object of CSS properties (set one by one, as the security policy wants);
 * true and false set and leave out an attribute; `false` and null among the children are skipped.
 */
export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** An SVG element. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(svgNamespace, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(key.slice(2), value);
    else if (key === "style") setStyle(element, value);
    else if (key === "value") element.value = value;
    else if (value === true) element.setAttribute(key, "");
    else element.setAttribute(key, String(value));
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child instanceof Node ? child : String(child));
  }
}

/** Sets CSS properties, custom ones included. */
export function setStyle(element, properties) {
  for (const [name, value] of Object.entries(properties)) element.style.setProperty(name, value);
}

/** Replaces all children. */
export function replace(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/**
 * Replaces all children; who was on a control stays on the one in its place, and tables stay where
 * they were moved to. A page that refreshes by itself must not take either away.
 */
export function renew(element, ...children) {
  const controls = () => [...element.querySelectorAll("a, button, input, select, [tabindex]")];
  const place = controls().indexOf(document.activeElement);
  const moved = [...element.querySelectorAll(".table-scroll")].map((table) => table.scrollLeft);
  replace(element, ...children);
  [...element.querySelectorAll(".table-scroll")].forEach((table, index) => {
    if (moved[index]) table.scrollLeft = moved[index];
  });
  if (place >= 0) controls()[place]?.focus({ preventScroll: true });
}

/** Paths of the icons, drawn on a grid of 16 with a stroke. */
const icons = {
  sun: "M8 4.8a3.2 3.2 0 1 0 0 6.4a3.2 3.2 0 0 0 0-6.4M8 1v1.4M8 13.6V15M1 8h1.4M13.6 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1",
  moon: "M13.5 9.8A6 6 0 0 1 6.2 2.5a6 6 0 1 0 7.3 7.3z",
  auto: "M8 2a6 6 0 1 0 0 12a6 6 0 0 0 0-12M8 2v12M10.5 3.6v8.8M13 5.2v5.6",
  wall: "M2 6V2.5h3.5M10.5 2.5H14V6M14 10v3.5h-3.5M5.5 13.5H2V10",
  out: "M6.5 2.5H3v11h3.5M10 5l3 3l-3 3M13 8H6",
  left: "M10 3L5 8l5 5",
  right: "M6 3l5 5l-5 5",
  plus: "M8 3v10M3 8h10",
  close: "M4 4l8 8M12 4l-8 8",
  download: "M8 2.5v7.5M4.8 7L8 10.2L11.2 7M3 13.5h10",
  table: "M2.5 3h11v10h-11zM2.5 6.5h11M6.5 6.5V13",
  chart: "M2.5 13.5h11M4.5 11V7M8 11V3.5M11.5 11V5.5",
  code: "M5.5 4.5L2 8l3.5 3.5M10.5 4.5L14 8l-3.5 3.5",
  zoom: "M7 3a4 4 0 1 0 0 8a4 4 0 0 0 0-8M10 10l3.5 3.5M5.2 7h3.6",
  pause: "M5.5 3.5v9M10.5 3.5v9",
};

/** An icon that screen readers skip. */
export function icon(name) {
  return svg(
    "svg",
    { viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: icons[name] }),
  );
}

/** A button that shows an icon alone; the label is for screen readers and the tooltip. */
export function iconButton(name, label, onclick, more = {}) {
  return h("button", { type: "button", class: "icon-button", title: label, "aria-label": label, onclick, ...more },
    icon(name));
}

/** Hands `text` to the browser as a file to keep. */
export function download(name, type, content) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = h("a", { href: url, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  // The browser has its own reference by the time the click is done with.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Copies `text`; false where the browser only allows that over HTTPS. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
