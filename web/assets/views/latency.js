// How long requests took: bands over time, a heat map by group, and a table.

import { align } from "../charts.js";
import { h } from "../dom.js";
import { heatmap } from "../heatmap.js";
import { Nothing, Panel } from "../panel.js";
import { chartPanel, choices, groupPanel, notCovered, noRequests, overTime, percentiles, tilesPanel, view } from "../pieces.js";
import { dimensionName, dimensionWord, metricNames, question, stepFor } from "../question.js";
import { listItem } from "../state.js";
import { stepNames } from "../time.js";

const heatRows = 14;
const heatMetrics = ["latency_p50", "latency_p95", "latency_p99", "latency_max"];
const groupNames = ["route", "api", "method", "application", "key", "upstream", "region", "country"];

function chosenGroup(context, offered) {
  return offered.includes(context.state.by) ? context.state.by : offered[0];
}

function chosenMetric(context) {
  return heatMetrics.includes(context.state.metric) ? context.state.metric : "latency_p95";
}

/** The view. */
export function latency(context) {
  const { catalogue } = context;
  const offered = groupNames.filter((name) => catalogue.covers([name], []) && catalogue.dimensions.includes(name));
  const tiles = tilesPanel(context, [
    { metric: "latency_p50", label: "p50", isBad: true },
    { metric: "latency_p90", label: "p90", isBad: true },
    { metric: "latency_p95", label: "p95", isBad: true },
    { metric: "latency_p99", label: "p99", isBad: true },
    { metric: "latency_p999", label: "p99.9", isBad: true },
    { metric: "latency_avg", label: "Mean", isBad: true },
  ]);
  const names = ["latency_p50", "latency_p90", "latency_p95", "latency_p99"];
  const bands = chartPanel(context, {
    title: "Percentiles over time", id: "bands", className: "two-thirds", tall: true,
    ask: () => overTime(context, names), build: (answer) => percentiles(answer, names),
  });
  const upstream = ["upstream_p50", "upstream_p95", "upstream_p99"];
  const theirs = chartPanel(context, {
    title: "Upstream's part", id: "upstream", className: "third", tall: true,
    ask: () => overTime(context, upstream), build: (answer) => percentiles(answer, upstream),
  });
  const by = choices("Rows of the heat map", offered.map((name) => [name, dimensionName(name)]), chosenGroup(context, offered),
    (name) => context.navigate({ by: name }));
  const metric = choices("Colour of the heat map", heatMetrics.map((name) => [name, metricNames[name]]), chosenMetric(context),
    (name) => context.navigate({ metric: name }));
  const heat = heatPanel(context, offered, h("div", { class: "panel-choices" }, by.element, metric.element));
  const list = groupPanel(context, {
    title: "Latency by group", id: "latency-table", className: "full", groups: () => [chosenGroup(context, offered)],
    metrics: ["requests", "latency_avg", "latency_min", "latency_p50", "latency_p90", "latency_p95", "latency_p99", "latency_p999", "latency_max"],
    sort: "-requests", limit: 30,
    link: () => h("a", { href: context.link({ view: "breakdown", by: chosenGroup(context, offered), sort: null, metric: null }) }, "All in the breakdown"),
  });
  const panels = [tiles, bands, theirs, heat, list];
  const all = view(panels, tiles.element, h("div", { class: "grid" }, panels.slice(1).map((panel) => panel.element)));
  const refresh = all.refresh;
  all.refresh = () => {
    by.draw(chosenGroup(context, offered));
    metric.draw(chosenMetric(context));
    list.title = `Latency by ${dimensionWord(chosenGroup(context, offered))}`;
    return refresh();
  };
  return all;
}

/** The busiest values of a dimension over time, coloured by a percentile. */
function heatPanel(context, offered, controls) {
  return new Panel(context, {
    title: "Heat map", id: "heat", className: "full", actions: [controls],
    load: async (signal, self) => {
      const { state, catalogue, client } = context;
      const [by, metric] = [chosenGroup(context, offered), chosenMetric(context)];
      if (!by || !catalogue.covers([by], state.filters)) return notCovered([by].filter(Boolean), state.filters);
      const ranked = await client.usage(question(state, {
        metrics: ["requests"], groups: [by], order: "-requests", limit: heatRows + 2,
      }), signal);
      const values = ranked.rows.map((row) => row[by]).filter((value) => value !== null && value !== "__other__").slice(0, heatRows);
      if (values.length === 0) return noRequests();
      const parameters = question(state, {
        metrics: [metric], groups: [by], step: stepFor(state, catalogue, [by]), limit: 10_000,
        extra: [{ dimension: by, op: "in", value: values.map(listItem).join(",") }],
      });
      self.offer("heat-map", parameters);
      const answer = await client.usage(parameters, signal);
      const axis = align(answer, (row) => String(row[by]));
      const rows = values.map((value) => {
        const own = axis.series.get(String(value)) ?? [];
        return { value, cells: axis.starts.map((_, index) => own[index]?.[metric] ?? null) };
      });
      if (rows.every((row) => row.cells.every((cell) => cell === null))) {
        return new Nothing("No known latencies", "These records do not say how long requests took, as most access logs do not.");
      }
      self.note = `${metricNames[metric]} per ${stepNames[answer.granularity]}, busiest first`;
      return heatmap(axis, rows, {
        unit: "seconds", label: `${metricNames[metric]} by ${dimensionName(by)} over time`,
        onFilter: (value) => context.addFilter(by, value, "eq"),
      });
    },
  });
}
