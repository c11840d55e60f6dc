// A grid of time against groups, coloured by a number.

import { h, svg } from "./dom.js";
import { byUnit } from "./format.js";
import { valueText } from "./question.js";
import { axisLabels, bucketText } from "./time.js";

/** Steps of the colour scale. */
const levels = 7;

/**
 * A heat map.
 *
 * @param axis starts, step and zone of the columns
 * @param rows `{ value, cells }`: a group and one number per column, null where there is none
 * @param options.unit unit of the numbers
 * @param options.onFilter called with the value of a row's head
 */
export function heatmap(axis, rows, { unit, label, onFilter }) {
  const known = rows.flatMap((row) => row.cells).filter((value) => value !== null && value > 0).sort((a, b) => a - b);
  // The scale is logarithmic between the 2nd and the 98th per cent, as latencies spread.
  const at = (share) => known[Math.min(known.length - 1, Math.floor(share * known.length))] ?? 1;
  const [low, high] = [at(0.02), at(0.98)];
  const level = (value) => {
    if (value <= low || high <= low) return 1;
    const share = Math.log(value / low) / Math.log(high / low);
    return Math.min(levels, 1 + Math.floor(share * levels));
  };
  const columns = axis.starts.length;
  const labels = axisLabels(axis.starts, axis.step, axis.zone, 8);
  const strips = rows.map((row) => {
    const strip = svg("svg", {
      class: "heat-strip", viewBox: `0 0 ${columns} 1`, preserveAspectRatio: "none", role: "img",
      "aria-label": `${valueText(row.value)}: ${summary(row.cells, unit)}`,
    });
    row.cells.forEach((value, index) => {
      const cell = svg("rect", {
        x: index, y: 0, width: 1, height: 1, class: value === null ? "heat-0" : `heat-${level(value)}`,
      });
      const text = value === null ? "no known latency" : byUnit(unit, value);
      cell.append(svg("title", {}, `${valueText(row.value)}\n${bucketText(axis.starts[index], axis.step, axis.zone)}\n${text}`));
      strip.append(cell);
    });
    return [
      h("div", { class: "heat-label" },
        h("button", { type: "button", class: "value", title: `Only ${valueText(row.value)}`, onclick: () => onFilter(row.value) },
          valueText(row.value))),
      strip,
    ];
  });
  const ticks = svg("svg", { class: "heat-axis", "aria-hidden": "true" });
  labels.forEach((text, index) => {
    if (text) ticks.append(svg("text", { x: `${((index + 0.5) / columns) * 100}%`, y: "12", "text-anchor": "middle" }, text));
  });
  const scale = Array.from({ length: levels }, (_, index) => h("span", { class: `heat-key heat-key-${index + 1}` }));
  return h("div", { class: "heatmap", role: "group", "aria-label": label },
    h("div", { class: "heat-grid" }, strips, h("div"), ticks),
    known.length > 0 && h("div", { class: "heat-scale" }, byUnit(unit, low), h("span", { class: "heat-keys" }, scale), byUnit(unit, high)));
}

function summary(cells, unit) {
  const known = cells.filter((value) => value !== null);
  if (known.length === 0) return "no known latency";
  return `from ${byUnit(unit, Math.min(...known))} to ${byUnit(unit, Math.max(...known))}`;
}
