// One dimension at a time: its values over time, and a table with everything about each.

import { align, seriesColours, statusColour } from "../charts.js";
import { h } from "../dom.js";
import { Nothing, Panel } from "../panel.js";
import { chartPanel, choices, counts, markErrors, metricColumns, notCovered, noRequests, overTime, view } from "../pieces.js";
import { dimensionName, dimensionWord, metricNames, question, valueText } from "../question.js";
import { listItem } from "../state.js";
import { table } from "../table.js";
import { previous } from "../time.js";

const tableMetrics = [
  "requests", "errors", "error_rate", "latency_p50", "latency_p95", "latency_p99", "bytes_out",
];
const rowsMax = 100;
const rowsMore = 1000;

/** The dimension that is shown: the chosen one if it is kept, else the first that says something. */
function chosen(context) {
  const kept = context.catalogue.dimensions;
  const usual = ["api", "route", ...kept].find((name) => kept.includes(name) && context.catalogue.covers([name], context.state.filters));
  return kept.includes(context.state.by) ? context.state.by : (usual ?? kept[0]);
}

/** The view. */
export function breakdown(context) {
  const tabs = choices("Dimension",
    context.catalogue.dimensions.map((name) => [name, dimensionName(name)]), chosen(context),
    (by) => context.navigate({ by, sort: null }));
  const measured = choices("Metric of the chart",
    ["requests", "errors", "bytes_out"].map((name) => [name, metricNames[name]]), metric(context),
    (name) => context.navigate({ metric: name }));

  const chart = chartPanel(context, {
    title: "", id: "over-time", className: "full", tall: true,
    ask: () => overTime(context, [metric(context)], []),
    build: (answer, signal) => stack(context, answer, signal),
  });
  const list = listPanel(context);
  const all = view([chart, list],
    h("div", { class: "view-controls" }, tabs.element, measured.element),
    h("div", { class: "grid" }, chart.element, list.element));
  const refresh = all.refresh;
  all.refresh = () => {
    tabs.draw(chosen(context));
    measured.draw(metric(context));
    chart.title = `${metricNames[metric(context)]} by ${dimensionWord(chosen(context))}`;
    list.title = dimensionName(chosen(context));
    return refresh();
  };
  return all;
}

function metric(context) {
  return ["requests", "errors", "bytes_out"].includes(context.state.metric) ? context.state.metric : "requests";
}

/** The largest values as bars, everything else as one. */
async function stack(context, total, signal) {
  const { state, catalogue, client } = context;
  const [by, name] = [chosen(context), metric(context)];
  if (!catalogue.covers([by], state.filters)) return notCovered([by], state.filters);
  const ranked = await client.usage(question(state, {
    metrics: [name], groups: [by], order: `-${name}`, limit: seriesColours.length + 2,
  }), signal);
  const values = ranked.rows.filter((row) => row[name] > 0).map((row) => row[by])
    .filter((value) => value !== null && value !== "__other__").slice(0, seriesColours.length);
  const parameters = overTime(context, [name], [by], {
    extra: [{ dimension: by, op: "in", value: values.map(listItem).join(",") }], limit: 10_000,
  });
  const parts = values.length > 0 ? await client.usage(parameters, signal) : { ...total, rows: [] };
  // A rollup without minutes answers in wider buckets: the total has to be asked for as wide.
  const whole = parts.granularity === total.granularity ? total
    : await client.usage(question(state, { metrics: [name], step: parts.granularity }), signal);
  const axis = align({ ...whole, rows: [...whole.rows, ...parts.rows] }, (row) => (by in row ? String(row[by]) : ""));
  const length = axis.starts.length;
  const rest = counts(axis.series.get(""), length, name);
  const series = values.map((value, index) => {
    const numbers = counts(axis.series.get(String(value)), length, name);
    numbers.forEach((number, place) => {
      rest[place] = Math.max(0, rest[place] - number);
    });
    return { label: valueText(value), colour: colourOf(by, value, index), values: numbers };
  });
  if (rest.some((number) => number > 0)) series.push({ label: "all others", colour: "--series-other", values: rest });
  if (series.length === 0) return new Nothing(`No ${metricNames[name].toLowerCase()}`, "Nothing matches the range and the filters.");
  return {
    axis: { ...axis, step: whole.granularity }, series, stacked: true, unit: catalogue.unit(name),
    label: `${metricNames[name]} over time by ${dimensionName(by)}`,
  };
}

function colourOf(by, value, index) {
  return by === "status_class" ? statusColour(value) : seriesColours[index];
}

/** The table, with the change of the requests against the period before. */
function listPanel(context) {
  // The dimension of which more than the first rows are wanted.
  let whole = null;
  const panel = new Panel(context, {
    title: "", id: "breakdown", className: "full",
    load: async (signal, self) => {
      const { state, catalogue, client } = context;
      const by = chosen(context);
      if (!catalogue.covers([by], state.filters)) return notCovered([by], state.filters);
      const metrics = [...tableMetrics];
      if (catalogue.knows("unique_clients")) metrics.push("unique_clients");
      const known = [by, ...metrics];
      const sort = state.sort && known.includes(state.sort.replace("-", "")) ? state.sort : "-requests";
      const limit = whole === by ? rowsMore : rowsMax;
      const parameters = question(state, { metrics, groups: [by], order: sort, limit });
      self.offer(`by-${by}`, parameters);
      const [answer, before] = await Promise.all([
        client.usage(parameters, signal),
        client.usage(question(state, { metrics: ["requests"], groups: [by], limit: 10_000, range: previous(state) }), signal),
      ]);
      if (answer.rows.length === 0) return noRequests();
      self.note = answer.truncated ? `first ${limit}` : `${answer.rows.length} ${answer.rows.length === 1 ? "row" : "rows"}`;
      const old = new Map(before.rows.map((row) => [row[by], row.requests]));
      const columns = metricColumns(metrics, catalogue);
      columns.unshift({ key: by, label: dimensionName(by), kind: "group" });
      columns.splice(2, 0, { key: "before", label: "Change", kind: "change", of: "requests", isFixed: true,
        hint: "Requests against the period of the same length before" });
      const rows = markErrors(answer.rows.map((row) => ({ ...row, before: old.get(row[by]) ?? null })));
      const list = table(columns, rows, {
        caption: `By ${dimensionName(by)}`, sort, onFilter: context.addFilter, onSort: (next) => context.navigate({ sort: next }),
      });
      if (!answer.truncated || limit === rowsMore) return list;
      const more = () => {
        whole = by;
        panel.refresh();
      };
      return [list, h("p", { class: "more" }, h("button", { type: "button", class: "button small", onclick: more }, `Show up to ${rowsMore}`))];
    },
  });
  return panel;
}
