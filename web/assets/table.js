// Tables: sortable, with bars, values to filter by, and text for everything.

import { h, setStyle } from "./dom.js";
import { byUnit, change, count } from "./format.js";
import { valueText } from "./question.js";

/**
 * A table of rows.
 *
 * Columns are `{ key, label, unit, kind, bar, of, tone }`: `kind` is `group` (a dimension's value,
 * with buttons that filter), `text`, `change` (against `of`) or a number by `unit`; `bar` draws the
 * share of the column's largest value; `tone(row)` is a class; `isRight` puts the head of a text to
 * the right.
 *
 * @param options.caption what the table is, for screen readers
 * @param options.sort `key` or `-key`
 * @param options.onSort called with the new sort; without it the heads are plain
 * @param options.isLong whether the table scrolls within its panel
 * @param options.onFilter called with (dimension, value, op)
 */
export function table(columns, rows, { caption, sort, onSort, onFilter, foot, isLong } = {}) {
  const most = new Map(columns.filter((column) => column.bar).map((column) => [
    column.key, Math.max(...rows.map((row) => row[column.key] ?? 0), 0),
  ]));
  return h("div", { class: isLong ? "table-scroll long" : "table-scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {},
      h("caption", { class: "visually-hidden" }, caption),
      h("thead", {}, h("tr", {}, columns.map((column) => head(column, sort, onSort)))),
      h("tbody", {}, rows.map((row) => h("tr", { class: row.tone ?? null },
        columns.map((column) => cell(column, row, most.get(column.key), onFilter))))),
      foot && h("tfoot", {}, h("tr", {}, columns.map((column) => cell(column, foot, 0))))));
}

function isNumber(column) {
  return !["group", "text"].includes(column.kind);
}

function head(column, sort, onSort) {
  const attributes = { scope: "col", class: isNumber(column) || column.isRight ? "number" : null, title: column.hint ?? null };
  const isSorted = sort === column.key || sort === `-${column.key}`;
  if (isSorted) attributes["aria-sort"] = sort.startsWith("-") ? "descending" : "ascending";
  if (!onSort || column.isFixed) return h("th", attributes, column.label);
  // Numbers are wanted from the largest, names from the first.
  const usual = isNumber(column) ? `-${column.key}` : column.key;
  const next = sort !== usual ? usual : usual.startsWith("-") ? column.key : `-${column.key}`;
  return h("th", attributes,
    h("button", { type: "button", class: "sort", onclick: () => onSort(next) }, column.label));
}

function cell(column, row, most, onFilter) {
  const value = row[column.key];
  if (column.kind === "group") return groupCell(column, value, row, onFilter);
  if (column.kind === "text") {
    return h("td", { class: column.tone?.(row) ?? null },
      column.render ? column.render(row) || "" : value === null || value === undefined ? "" : String(value));
  }
  if (column.kind === "change") {
    const text = change(row[column.of], value);
    return h("td", { class: "number change" }, text ?? "–");
  }
  const text = column.unit === "count" ? count(value) : byUnit(column.unit, value);
  const tone = column.tone?.(row);
  const element = h("td", { class: ["number", column.bar && "with-bar", tone].filter(Boolean).join(" ") },
    column.bar ? h("span", { class: "bar-text" }, text) : text);
  if (column.bar && most > 0 && value > 0) {
    const bar = h("span", { class: "bar", "aria-hidden": "true" });
    setStyle(bar, { "--share": `${((value / most) * 100).toFixed(2)}%` });
    element.prepend(bar);
  }
  return element;
}

function groupCell(column, value, row, onFilter) {
  const text = valueText(value);
  const isSpecial = text !== String(value);
  const attributes = { scope: "row", class: isSpecial ? "group special" : "group" };
  const swatch = row.colour ? h("span", { class: "swatch" }) : null;
  if (swatch) setStyle(swatch, { "--swatch": `var(${row.colour})` });
  // The merged rest can only be asked for as a whole; a total is nothing to filter by.
  if (!onFilter || row.isTotal) return h("th", attributes, swatch, text);
  return h("th", attributes, swatch,
    h("button", {
      type: "button", class: "value", title: `Only ${text}`,
      onclick: (event) => onFilter(column.key, value, event.altKey ? "ne" : "eq"),
    }, text),
    value === "__other__" ? null : h("button", {
      type: "button", class: "exclude", title: `Without ${text}`, "aria-label": `Without ${text}`,
      onclick: () => onFilter(column.key, value, "ne"),
    }, "≠"));
}

/** Rows sorted by `key` or `-key`, null last either way. */
export function sorted(rows, sort) {
  if (!sort) return rows;
  const down = sort.startsWith("-");
  const key = down ? sort.slice(1) : sort;
  const isNull = (value) => value === null || value === undefined;
  return [...rows].sort((left, right) => {
    const [a, b] = [left[key], right[key]];
    if (isNull(a) || isNull(b)) return Number(isNull(a)) - Number(isNull(b));
    const order = a < b ? -1 : a > b ? 1 : 0;
    return down ? -order : order;
  });
}

/** Rows as CSV (RFC 4180), for what no question to the API gives. */
export function asCSV(columns, rows) {
  const field = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [columns.map((column) => field(column.key)), ...rows.map((row) =>
    columns.map((column) => field(row[column.key])))];
  return lines.map((line) => `${line.join(",")}\r\n`).join("");
}
