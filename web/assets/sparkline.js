// A line without axes, for tiles.

import { svg } from "./dom.js";

/** A sparkline of values, of which null is a gap; its words are elsewhere on the tile. */
export function sparkline(values, height = 28, width = 120) {
  const known = values.filter((value) => value !== null && value !== undefined);
  const element = svg("svg", {
    class: "sparkline", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true",
  });
  if (known.length < 2) return element;
  const most = Math.max(...known, Number.MIN_VALUE);
  const x = (index) => (index / (values.length - 1)) * width;
  const y = (value) => height - 1.5 - (value / most) * (height - 3);
  let line = "";
  let area = "";
  let from = null;
  values.forEach((value, index) => {
    if (value === null || value === undefined) {
      if (from !== null) area += `L${x(index - 1).toFixed(1)} ${height}Z`;
      from = null;
      return;
    }
    const point = `${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    line += (from === null ? "M" : "L") + point;
    area += from === null ? `M${x(index).toFixed(1)} ${height}L${point}` : `L${point}`;
    from ??= index;
  });
  if (from !== null) area += `L${width} ${height}Z`;
  element.append(
    svg("path", { d: area, class: "sparkline-area" }),
    svg("path", { d: line, class: "sparkline-line", "vector-effect": "non-scaling-stroke" }),
  );
  return element;
}
