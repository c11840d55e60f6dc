// How numbers look.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const oneDigit = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** What stands for a value that is not known. */
export const unknown = "–";

/** Three significant digits, without an exponent. */
function significant(value) {
  const size = Math.abs(value);
  if (size >= 100 || size === 0) return whole.format(value);
  if (size >= 10) return value.toFixed(1);
  return value.toFixed(2);
}

function scaled(value, base, units) {
  let index = 0;
  let size = value;
  while (Math.abs(size) >= base * 0.9995 && index < units.length - 1) {
    size /= base;
    index += 1;
  }
  return [index === 0 ? whole.format(size) : significant(size), units[index]];
}

/** A whole number with separators. */
export function count(value) {
  return value === null || value === undefined ? unknown : whole.format(value);
}

/** A short number for tiles and axes: `12.3k`. */
export function compact(value) {
  if (value === null || value === undefined) return unknown;
  if (Math.abs(value) < 10_000) {
    return Number.isInteger(value) ? whole.format(value) : oneDigit.format(value);
  }
  return scaled(value, 1000, ["", "k", "M", "G", "T"]).join("");
}

/** Bytes in powers of 1000. */
export function bytes(value) {
  if (value === null || value === undefined) return unknown;
  return scaled(value, 1000, ["B", "kB", "MB", "GB", "TB", "PB"]).join("\u00a0");
}

/** Seconds with the unit that fits. */
export function seconds(value) {
  if (value === null || value === undefined) return unknown;
  if (value === 0) return "0\u00a0s";
  if (value < 0.0009995) return `${significant(value * 1e6)}\u00a0µs`;
  if (value < 0.9995) return `${significant(value * 1e3)}\u00a0ms`;
  if (value < 119.5) return `${significant(value)}\u00a0s`;
  return span(value);
}

/** A ratio as per cent; small ones keep their digits. */
export function ratio(value) {
  if (value === null || value === undefined) return unknown;
  const percent = value * 100;
  if (percent === 0) return "0\u00a0%";
  if (percent < 0.01) return "<\u00a00.01\u00a0%";
  if (percent < 10) return `${percent.toFixed(2)}\u00a0%`;
  return `${percent.toFixed(1)}\u00a0%`;
}

/** A length of time in words: `2 d 3 h`. */
export function span(value) {
  if (value === null || value === undefined) return unknown;
  let rest = Math.round(Math.abs(value));
  const parts = [];
  for (const [unit, size] of [["y", 31_536_000], ["d", 86_400], ["h", 3600], ["min", 60], ["s", 1]]) {
    const number = Math.floor(rest / size);
    rest -= number * size;
    if (number > 0) parts.push(`${number}\u00a0${unit}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.join(" ") || "0\u00a0s";
}

/** A relative change: `+12 %`; null when there is nothing to compare with. */
export function change(now, before) {
  if (now === null || before === null || now === undefined || before === undefined) return null;
  if (before === 0) return now === 0 ? "±0\u00a0%" : null;
  const percent = ((now - before) / Math.abs(before)) * 100;
  if (Math.abs(percent) < 0.05) return "±0\u00a0%";
  const sign = percent > 0 ? "+" : "−";
  const size = Math.abs(percent);
  if (size >= 1000) return `×\u00a0${significant(now / before)}`;
  return `${sign}${size < 9.95 ? size.toFixed(1) : whole.format(size)}\u00a0%`;
}

/** A value of a metric by its unit. */
export function byUnit(unit, value) {
  switch (unit) {
    case "bytes": return bytes(value);
    case "seconds": return seconds(value);
    case "ratio": return ratio(value);
    default: return count(value);
  }
}

/** The same, as short as an axis needs: without zeros at the end of a fraction. */
export function axisByUnit(unit, value) {
  const text = unit === "count" ? compact(value) : byUnit(unit, value);
  return text.replace(/(\.\d*?)0+(?!\d)/, "$1").replace(/\.(?!\d)/, "");
}
