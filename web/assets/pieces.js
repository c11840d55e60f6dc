// Panels that several views are made of.

import { align, hasCharts, TimeChart } from "./charts.js";
import { h, iconButton, renew } from "./dom.js";
import { byUnit, change, count } from "./format.js";
import { Nothing, Panel } from "./panel.js";
import { dimensionName, dimensionWord, metricNames, question, stepFor } from "./question.js";
import { sparkline } from "./sparkline.js";
import { table } from "./table.js";
import { bucketText, previous, rfc3339, shortMoment, stepNames } from "./time.js";

/** Rows that a table shows before it says that there are more. */
const rowsMax = 200;

/** Several panels as one view. */
export function view(panels, ...children) {
  return {
    element: h("div", { class: "view" }, children),
    refresh: () => Promise.all(panels.map((panel) => panel.refresh())),
    redraw: () => panels.forEach((panel) => panel.redraw?.()),
    stop: () => panels.forEach((panel) => panel.stop()),
  };
}

/** What a panel says when the filters rule it out. */
export function notCovered(groups, filters) {
  const names = [...groups, ...filters.map((filter) => filter.dimension)];
  return new Nothing("Not kept together",
    `No rollup has ${[...new Set(names)].map(dimensionName).join(", ")}. Take a filter away, or define such a rollup.`);
}

/** What a panel says when there were no requests. */
export function noRequests() {
  return new Nothing("No requests", "Nothing matches the range and the filters.");
}

/** Adds a drag of a chart to the state. */
function rangeTaker(context) {
  return (from, to) => context.navigate({ from: rfc3339(from), to: rfc3339(Math.min(to, Date.now() + 60_000)) });
}

/**
 * A chart over time that can be turned into a table.
 *
 * `ask(state)` gives the parameters of the main question, or `Nothing`; `build(answer, signal)`
 * gives what `TimeChart.draw` takes, or `Nothing`.
 */
export function chartPanel(context, { title, id, className, ask, build, tall }) {
  const chart = new TimeChart({ onRange: rangeTaker(context), tall });
  let isTable = !hasCharts();
  let drawn = null;
  const toggle = iconButton("table", "Show as table", () => {
    isTable = !isTable;
    toggle.setAttribute("aria-pressed", String(isTable));
    panel.refresh();
  }, { "aria-pressed": String(isTable), hidden: !hasCharts() });
  const panel = new Panel(context, {
    title, id, className, actions: [toggle],
    load: async (signal, self) => {
      const parameters = ask(context.state);
      if (parameters instanceof Nothing) return parameters;
      self.offer(id, parameters);
      const answer = await context.client.usage(parameters, signal);
      if (answer.rows.length === 0) return noRequests();
      const picture = await build(answer, signal);
      if (picture instanceof Nothing) return picture;
      self.note = `per ${stepNames[answer.granularity] ?? answer.granularity}`;
      drawn = picture;
      if (isTable) return dataTable(title, picture);
      // The chart measures its place, so it has to be on the page first.
      requestAnimationFrame(() => chart.element.isConnected && chart.draw(picture));
      return chart.element;
    },
  });
  panel.redraw = () => !isTable && drawn && chart.element.isConnected && chart.redraw();
  const stop = panel.stop.bind(panel);
  panel.stop = () => {
    stop();
    chart.destroy();
  };
  return panel;
}

/** The numbers of a chart. */
function dataTable(caption, { axis, series, unit = "count" }) {
  const shown = series.filter((one) => !one.isBand);
  const columns = [{ key: "bucket", label: "Time", kind: "text" }, ...shown.map((one, index) => (
    { key: `s${index}`, label: one.label, unit: one.unit ?? unit }))];
  const rows = axis.starts.map((start, index) => {
    const row = { bucket: bucketText(start, axis.step, axis.zone) };
    shown.forEach((one, number) => {
      row[`s${number}`] = (one.shown ?? one.values)[index] ?? null;
    });
    return row;
  });
  return table(columns, rows, { caption, isLong: true });
}

/** The question of a chart: over time, by `groups`. */
export function overTime(context, metrics, groups = [], more = {}) {
  const { state, catalogue } = context;
  if (!catalogue.covers(groups, state.filters)) return notCovered(groups, state.filters);
  const step = stepFor(state, catalogue, groups);
  return question(state, { metrics, groups, step, ...more });
}

/** Counts by bucket; what has no row is 0. */
export function counts(rows, length, metric) {
  return Array.from({ length }, (_, index) => rows?.[index]?.[metric] ?? 0);
}

/** Measures by bucket; what has no row is not known. */
export function measures(rows, length, metric) {
  return Array.from({ length }, (_, index) => rows?.[index]?.[metric] ?? null);
}

/** Lines of percentiles with bands between them. */
export async function percentiles(answer, names) {
  const axis = align(answer);
  const rows = axis.series.get("");
  const lines = names.map((name) => measures(rows, axis.starts.length, name));
  if (lines.every((line) => line.every((value) => value === null))) {
    return new Nothing("No known latencies", "These records do not say how long requests took, as most access logs do not.");
  }
  const last = names.length - 1;
  return {
    axis, unit: "seconds", label: "Latency percentiles over time",
    series: names.map((name, index) => ({
      label: metricNames[name], colour: `--band-${names.length - index}`, values: lines[index], kind: "line",
      fill: index === 0 ? "origin" : { target: index - 1 }, opacity: 0.1 + 0.1 * ((last - index) / Math.max(1, last)),
      width: index === 0 ? 2 : 1.5,
    })),
  };
}

// Tiles ----------------------------------------------------------------------------------------

/**
 * A row of numbers with their change against the period before, and their course.
 *
 * Tiles are `{ metric, label, isBad, note }`: more of what is bad is shown as a warning.
 */
export function tilesPanel(context, tiles, id = "tiles") {
  const metrics = tiles.map((tile) => tile.metric);
  const panel = new Panel(context, {
    title: "Summary", id, className: "bare",
    load: async (signal, self) => {
      const { state, catalogue, client } = context;
      if (!catalogue.covers([], state.filters)) return notCovered([], state.filters);
      const total = question(state, { metrics });
      self.offer("summary", total);
      const step = stepFor(state, catalogue);
      const series = metrics.filter((metric) => metric !== "unique_clients" && metric !== "unique_keys");
      const [now, before, course] = await Promise.all([
        client.usage(total, signal),
        client.usage(question(state, { metrics, range: previous(state) }), signal),
        client.usage(question(state, { metrics: series, step }), signal),
      ]);
      const row = now.rows[0] ?? {};
      const old = before.rows[0] ?? {};
      context.onAnswer(now);
      if (now.rows.length === 0) return context.emptyRange();
      const axis = align(course);
      const elements = tiles.map((tile) => {
        const unit = catalogue.unit(tile.metric);
        const values = series.includes(tile.metric)
          ? (unit === "count" || unit === "bytes" ? counts : measures)(axis.series.get(""), axis.starts.length, tile.metric)
          : [];
        return tileElement(tile, unit, row[tile.metric], old[tile.metric], values, context);
      });
      return [h("div", { class: "tiles" }, elements), ...remarks(now, state.tz)];
    },
  });
  return panel;
}

/** What an answer says about itself that a reader has to know. */
function remarks(answer, zone) {
  const found = [];
  if (answer.complete_since !== null && Date.parse(answer.complete_since) > Date.parse(answer.from)) {
    found.push(`Complete since ${shortMoment(Date.parse(answer.complete_since), zone)}; before, there may be more than is shown.`);
  }
  if (answer.other_requests > 0) {
    found.push(`${count(answer.other_requests)} requests, whose values were merged, might match the filters and are left out.`);
  }
  return found.map((text) => h("p", { class: "remark" }, text));
}

function tileElement(tile, unit, value, before, values, context) {
  const text = unit === "count" ? context.compactOrWhole(value) : byUnit(unit, value);
  const [number, suffix] = text.split("\u00a0");
  const difference = change(value, before);
  const worse = tile.isBad && difference && Math.abs(value - before) > Math.abs(before) * 0.05;
  const tone = !worse ? "" : value > before ? " worse" : " better";
  return h("div", { class: tile.isBad ? "tile bad" : "tile", "data-metric": tile.metric },
    h("div", { class: "tile-label" }, tile.label),
    h("div", { class: "tile-value" }, number, suffix && h("span", { class: "unit" }, suffix)),
    h("div", { class: `tile-change${tone}`, title: "Against the period of the same length before" },
      difference ?? (before === undefined || before === null ? "nothing before" : "from 0"),
      before === undefined || before === null ? null
        : h("span", { class: "before" }, ` from ${unit === "count" ? context.compactOrWhole(before) : byUnit(unit, before)}`)),
    values.length > 1 ? sparkline(values) : h("div", { class: "sparkline" }));
}

// Tables by group ------------------------------------------------------------------------------

/** Columns of metrics; `requests` and `errors` with bars. */
export function metricColumns(metrics, catalogue) {
  return metrics.map((metric) => ({
    key: metric, label: metricNames[metric] ?? metric, unit: catalogue.unit(metric),
    bar: metric === metrics[0],
    tone: metric === "error_rate" ? (row) => (row.stands ? "tone-bad" : "") : undefined,
  }));
}

/** Marks rows whose error rate stands out: at least 1 % and half as much again as that of all. */
export function markErrors(rows) {
  const known = rows.filter((row) => row.error_rate !== null && row.error_rate !== undefined);
  const all = known.reduce((sum, row) => sum + row.requests, 0);
  const errors = known.reduce((sum, row) => sum + row.requests * row.error_rate, 0);
  for (const row of known) {
    row.stands = row.error_rate >= 0.01 && row.error_rate > 1.5 * (errors / all) && row.requests * row.error_rate >= 3;
  }
  return rows;
}

/**
 * A table by dimensions, sorted by the server.
 *
 * `groups` is a function of the state, so that a view may change it; `limit` rows are shown.
 */
export function groupPanel(context, { title, id, className, groups, metrics, sort = "-requests", limit = rowsMax, extra, keep, link }) {
  let order = sort;
  const panel = new Panel(context, {
    title, id, className,
    load: async (signal, self) => {
      const { state, catalogue, client } = context;
      const names = groups(state);
      const filters = [...state.filters, ...(extra ?? [])];
      if (!catalogue.covers(names, filters)) return notCovered(names, filters);
      const parameters = question(state, { metrics, groups: names, order, limit, extra });
      self.offer(id, parameters);
      const answer = await client.usage(parameters, signal);
      const rows = keep ? answer.rows.filter(keep) : answer.rows;
      self.note = answer.truncated && limit >= rowsMax ? `first ${limit}` : "";
      if (rows.length === 0) return keep ? new Nothing("None", "Nothing like this happened.") : noRequests();
      if (metrics.includes("requests")) markErrors(rows);
      const columns = [
        ...names.map((name) => ({ key: name, label: dimensionName(name), kind: "group" })),
        ...metricColumns(metrics, catalogue),
      ];
      return [
        table(columns, rows, {
          caption: title, sort: order, onFilter: context.addFilter,
          onSort: (next) => {
            order = next;
            panel.refresh();
          },
        }),
        answer.truncated && link && h("p", { class: "more" }, link()),
      ];
    },
  });
  return panel;
}

/** A list of values of a dimension with bars: the shortest answer to "which". */
export function topPanel(context, { title, id, dimension, className = "third", limit = 8 }) {
  const metrics = className === "third" ? ["requests", "error_rate", "latency_p95"]
    : ["requests", "error_rate", "latency_p50", "latency_p95", "bytes_out"];
  return groupPanel(context, {
    title, id, className, groups: () => [dimension], metrics, limit,
    link: () => h("a", { href: context.link({ view: "breakdown", by: dimension, sort: null }) }, `All by ${dimensionWord(dimension)}`),
  });
}

/** Bars of shares, for the few values of a dimension. */
export function sharesPanel(context, { title, id, className, dimension, colourOf, metric = "requests" }) {
  return new Panel(context, {
    title, id, className,
    load: async (signal, self) => {
      const { state, catalogue, client } = context;
      if (!catalogue.covers([dimension], state.filters)) return notCovered([dimension], state.filters);
      const parameters = question(state, { metrics: [metric], groups: [dimension], order: `-${metric}`, limit: 100 });
      self.offer(id, parameters);
      const answer = await client.usage(parameters, signal);
      const rows = answer.rows.filter((row) => row[metric] > 0);
      if (rows.length === 0) return noRequests();
      const all = rows.reduce((sum, row) => sum + row[metric], 0);
      const columns = [
        { key: dimension, label: dimensionName(dimension), kind: "group" },
        { key: metric, label: metricNames[metric], unit: "count", bar: true },
        { key: "share", label: "Share", unit: "ratio" },
      ];
      const shown = rows.slice(0, 12).map((row) => ({ ...row, share: row[metric] / all, colour: colourOf(row[dimension]) }));
      return [table(columns, shown, { caption: title, onFilter: context.addFilter }),
        rows.length > 12 && h("p", { class: "more" }, `and ${rows.length - 12} more`)];
    },
  });
}

/** Choices of which one is taken, as a row of buttons. */
export function choices(label, options, taken, onTake) {
  const element = h("div", { class: "choices", role: "group", "aria-label": label });
  const draw = (current) => renew(element, options.map(([value, text]) => h("button", {
    type: "button", class: "choice", "aria-pressed": String(value === current), onclick: () => onTake(value), "data-value": value,
  }, text)));
  draw(taken);
  return { element, draw };
}

