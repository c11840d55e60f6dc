// What is billed: quantities of open periods against their quota, closed periods with their corrections.

import { h, renew, setStyle } from "../dom.js";
import { byUnit, compact, count, ratio, span } from "../format.js";
import { Nothing, Panel } from "../panel.js";
import { valueText } from "../question.js";
import { asCSV, table } from "../table.js";
import { shortMoment } from "../time.js";

/** Rows of closed periods that a table shows; the CSV has all. */
const rowsMax = 100;

/** Decimals as exact as they are stored. */
const exact = new Intl.NumberFormat("en", { maximumFractionDigits: 6 });

/** The view: open periods of all meters, and a panel of closed ones for each. */
export function meters(context) {
  const grid = h("div", { class: "grid" });
  const closed = new Map();
  let listed = [];
  const open = new Panel(context, {
    title: "Open periods", id: "open-periods", className: "bare",
    load: async (signal, self) => {
      const answer = await context.client.meters(signal);
      context.onAnswer(answer);
      listed = answer.meters;
      if (listed.length === 0) {
        return new Nothing("No meters", "Nothing of yours is counted for bills so far.");
      }
      const rows = listed.flatMap((meter) => (meter.open ?? []).flatMap((period) => period.rows.map((row) => ({
        meter: meter.name, period_start: period.period_start, period_end: period.period_end, tz: meter.tz,
        org: row.org, application: row.application, quantity: row.quantity, unit: meter.unit, quota: meter.quota, left: row.left,
      }))));
      self.offerText("open-periods", () => asCSV([
        "meter", "period_start", "period_end", "tz", "org", "application", "quantity", "unit", "quota", "left",
      ].map((key) => ({ key })), rows));
      return h("div", { class: "tiles" }, listed.flatMap((meter) => tiles(context, meter, answer.complete_to)));
    },
  });
  const draw = () => {
    const names = listed.map((meter) => meter.name);
    for (const name of closed.keys()) {
      if (names.includes(name)) continue;
      closed.get(name).stop();
      closed.delete(name);
    }
    for (const name of names) {
      if (!closed.has(name)) closed.set(name, closedPanel(context, name, () => listed.find((meter) => meter.name === name)));
    }
    const elements = names.map((name) => closed.get(name).element);
    // Panels that are there stay where they are, and the focus with them.
    if (elements.length !== grid.children.length || elements.some((element, index) => element !== grid.children[index])) {
      renew(grid, elements);
    }
  };
  return {
    element: h("div", { class: "view" }, open.element, grid),
    refresh: async () => {
      await open.refresh();
      draw();
      await Promise.all([...closed.values()].map((panel) => panel.refresh()));
    },
    redraw: () => {},
    stop: () => [open, ...closed.values()].forEach((panel) => panel.stop()),
  };
}

/** A quantity for a quick look. */
function short(value, unit) {
  if (unit === "bytes" || unit === "seconds") return byUnit(unit, value);
  return `${value >= 1_000_000 ? compact(value) : count(value)}\u00a0${unit}`;
}

/** A period by its local dates, the last one included. */
function periodText(start, end, zone) {
  const format = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: zone });
  // Browsers differ in the spaces around the dash.
  return format.formatRange(Date.parse(start), Date.parse(end) - 1).replace(/\s*–\s*/, " – ");
}

/** A tile for each open period; the sum of what the token sees, and for one application its quota. */
function tiles(context, meter, completeTo) {
  if (meter.open === null) {
    return [h("div", { class: "tile", "data-meter": meter.name },
      h("div", { class: "tile-label" }, meter.name), h("div", { class: "tile-value" }, "–"),
      h("div", { class: "tile-change" }, "cannot be counted before the period closes"))];
  }
  const isOne = context.catalogue.scope.name === "application";
  const now = completeTo === null ? Date.now() : Date.parse(completeTo);
  return meter.open.map((period) => {
    // A largest value is that of the largest, distinct values of applications do not add up.
    const quantities = period.rows.map((row) => row.quantity);
    const isSum = meter.aggregate === "count" || meter.aggregate === "sum";
    const used = isSum || quantities.length < 2 ? quantities.reduce((sum, value) => sum + value, 0) : Math.max(...quantities);
    const [number, suffix] = short(used, meter.unit).split(/\u00a0(.*)/s);
    const isOver = now >= Date.parse(period.period_end);
    const rest = isOver ? "over, closes soon" : `${span((Date.parse(period.period_end) - now) / 1000)} to go`;
    const hasQuota = isOne && meter.quota !== null && meter.quota > 0;
    return h("div", { class: "tile", "data-meter": meter.name },
      h("div", { class: "tile-label" }, meter.name),
      h("div", { class: "tile-value" }, period.rows.some((row) => row.estimate) ? "≈" : "", number,
        suffix && h("span", { class: "unit" }, suffix)),
      hasQuota ? quotaElement(meter, used) : h("div", { class: "tile-change" }, isOne ? "no quota" : applications(period.rows.length)),
      h("div", { class: "tile-change before" }, `${periodText(period.period_start, period.period_end, meter.tz)}, ${rest}`));
  });
}

function applications(number) {
  return number === 1 ? "1 application" : `${count(number)} applications`;
}

/** How much of a quota is used, as a bar and in words. */
function quotaElement(meter, used) {
  const share = used / meter.quota;
  const tone = share >= 1 ? "bad" : share >= 0.8 ? "warn" : "";
  const fill = h("span", {});
  setStyle(fill, { "--share": `${(Math.min(1, share) * 100).toFixed(2)}%` });
  const left = Math.max(0, meter.quota - used);
  return [
    h("div", {
      class: `quota ${tone}`, role: "meter", "aria-label": `Quota of ${meter.name}`, "aria-valuemin": 0, "aria-valuemax": meter.quota,
      "aria-valuenow": Math.min(used, meter.quota), "aria-valuetext": `${ratio(share)} used`,
    }, fill),
    h("div", { class: `tile-change quota-left ${tone && `tone-${tone}`}` },
      left > 0 ? `${short(left, meter.unit)} left of ${short(meter.quota, meter.unit)}` : `quota of ${short(meter.quota, meter.unit)} used up`),
  ];
}

/** The closed periods of one meter, newest first, each with its revisions. */
function closedPanel(context, name, current) {
  return new Panel(context, {
    title: name, id: `meter-${name}`, className: "full",
    load: async (signal, self) => {
      const meter = current();
      if (!meter) return new Nothing("No longer there");
      const zone = meter.tz;
      const isOne = context.catalogue.scope.name === "application";
      self.note = `${meter.unit} per ${meter.period}, ${zone}`;
      const parts = [];
      if (!isOne) {
        for (const period of meter.open ?? []) {
          if (period.rows.length > 0) parts.push(openTable(meter, period));
        }
      }
      const rows = meter.closed_to === null ? [] : await closedRows(context, name, signal, self);
      if (rows.length === 0) {
        parts.push(h("p", { class: "detail" }, "No period of this meter is closed yet. A closed period does not change; late requests make a correction."));
        return parts;
      }
      const hasEstimates = rows.some((row) => row.estimate);
      const columns = [
        { key: "period", label: "Period", kind: "text", render: (row) => periodText(row.period_start, row.period_end, zone) },
        !isOne && { key: "application", label: "Application", kind: "text", render: (row) => valueText(row.application) },
        { key: "amount", label: "Quantity", kind: "text", isRight: true, tone: () => "number",
          render: (row) => `${row.estimate ? "≈" : ""}${exact.format(row.quantity)}` },
        { key: "revision", label: "Revision", unit: "count" },
        { key: "correction", label: "Correction", kind: "text", isRight: true, tone: () => "number",
          render: (row) => (row.revision === 1 ? "–" : `${row.correction < 0 ? "−" : "+"}${exact.format(Math.abs(row.correction))}`) },
        { key: "made", label: "Made", kind: "text", render: (row) => shortMoment(Date.parse(row.made_at), context.state.tz) },
      ].filter(Boolean);
      parts.push(
        table(columns, rows.slice(0, rowsMax), { caption: `Closed periods of ${name}`, isLong: true }),
        h("p", { class: "more" }, [
          rows.length > rowsMax && `The latest ${rowsMax} of ${count(rows.length)} rows; the CSV has all. `,
          "Billed is the quantity of revision 1, and the correction of each later revision.",
          hasEstimates && " ≈ is an estimate (standard error 1.6 %).",
        ]));
      return parts;
    },
  });
}

/** All rows of closed periods, the latest first. */
async function closedRows(context, name, signal, panel) {
  const parameters = [["revision", "all"]];
  const answer = await context.client.meter(name, parameters, signal);
  panel.offer(`meter-${name}`, parameters, `v1/meters/${name}`);
  return answer.rows.reverse();
}

/** What each application has used of an open period. */
function openTable(meter, period) {
  const columns = [
    { key: "application", label: "Application", kind: "text", render: (row) => valueText(row.application) },
    { key: "quantity", label: `So far (${meter.unit})`, unit: meter.unit, bar: true },
    meter.quota !== null && { key: "left", label: "Left", unit: meter.unit },
  ].filter(Boolean);
  const text = periodText(period.period_start, period.period_end, meter.tz);
  return [
    h("h3", { class: "meter-period" }, `${text}, still open`),
    table(columns, [...period.rows].sort((a, b) => b.quantity - a.quantity).slice(0, rowsMax),
      { caption: `${meter.name}, ${text}, by application`, isLong: true }),
  ];
}
