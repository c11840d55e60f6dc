// How things are: the numbers, their course, and who makes them.

import { align, statusColour } from "../charts.js";
import { h } from "../dom.js";
import { chartPanel, counts, overTime, percentiles, sharesPanel, tilesPanel, topPanel, view } from "../pieces.js";
import { Nothing } from "../panel.js";
import { question } from "../question.js";
import { previous } from "../time.js";

/** Stacked bars of requests by status class, with the period before as a line. */
export function requestsChart(context, { id = "requests", className = "two-thirds" } = {}) {
  return chartPanel(context, {
    title: "Requests", id, className, tall: true,
    ask: () => overTime(context, ["requests"], context.catalogue.covers(["status_class"], context.state.filters) ? ["status_class"] : []),
    build: async (answer, signal) => {
      const axis = align(answer, (row) => String(row.status_class ?? ""));
      const length = axis.starts.length;
      const series = [...axis.series.keys()].sort().map((key) => ({
        label: key === "" ? "no status" : key === "__other__" ? "other" : key, colour: statusColour(key),
        values: counts(axis.series.get(key), length, "requests"),
      }));
      if (series.length === 1 && series[0].label === "no status") Object.assign(series[0], { label: "requests", colour: "--series-1" });
      const earlier = await context.client.usage(question(context.state, {
        metrics: ["requests"], step: answer.granularity, range: previous(context.state),
      }), signal);
      if (earlier.rows.length > 0) {
        const old = align(earlier);
        // Bucket for bucket from the start; a range that is cut differently may have one more.
        series.push({
          label: "period before", colour: "--series-before", kind: "line", dashed: true, width: 1.25,
          values: counts(old.series.get(""), old.starts.length, "requests").slice(-length),
        });
      }
      return { axis, series, stacked: true, label: "Requests over time by status class" };
    },
  });
}

/** Lines of p50, p95 and p99. */
export function latencyChart(context, className = "two-thirds") {
  const names = ["latency_p50", "latency_p95", "latency_p99"];
  return chartPanel(context, {
    title: "Latency", id: "latency", className,
    ask: () => overTime(context, names),
    build: (answer) => percentiles(answer, names),
  });
}

/** Errors over time, split by whose they are. */
export function errorsChart(context, { id = "errors", className = "third" } = {}) {
  return chartPanel(context, {
    title: "Errors", id, className,
    ask: () => overTime(context, ["client_errors", "server_errors"]),
    build: async (answer) => {
      const axis = align(answer);
      const rows = axis.series.get("");
      const values = (metric) => counts(rows, axis.starts.length, metric);
      const [client, server] = [values("client_errors"), values("server_errors")];
      if ([...client, ...server].every((value) => value === 0)) return new Nothing("No errors", "Every request went well.");
      return {
        axis, stacked: true, label: "Errors over time",
        series: [
          { label: "client errors", colour: "--status-4", values: client },
          { label: "server errors", colour: "--status-5", values: server },
        ],
      };
    },
  });
}

/** The overview. */
export function overview(context) {
  const { catalogue } = context;
  const tiles = tilesPanel(context, [
    { metric: "requests", label: "Requests" },
    { metric: "error_rate", label: "Error rate", isBad: true },
    { metric: "latency_p50", label: "Latency p50", isBad: true },
    { metric: "latency_p95", label: "Latency p95", isBad: true },
    { metric: "latency_p99", label: "Latency p99", isBad: true },
    { metric: "bytes_out", label: "Bytes out" },
    ...(catalogue.knows("unique_clients") ? [{ metric: "unique_clients", label: "Clients" }] : []),
  ]);
  const isKept = (dimension) => catalogue.covers([dimension], []);
  const status = isKept("status") ? "status" : "status_class";
  const shares = sharesPanel(context, {
    title: status === "status" ? "Status" : "Status class", id: "status", className: "third", dimension: status, colourOf: statusColour,
  });
  const top = [
    ["api", "APIs"], ["route", "Routes"], ["application", "Applications"], ["key", "Keys"], ["country", "Countries"],
    ["user_agent", "User agents"],
  ].filter(([dimension]) => isKept(dimension) && catalogue.dimensions.includes(dimension))
    .map(([dimension, title], _, all) => topPanel(context, {
      title, id: `top-${dimension}`, dimension, className: all.length % 3 === 0 ? "third" : "half",
    }));
  const panels = [tiles, requestsChart(context), shares, latencyChart(context), errorsChart(context), ...top];
  return view(panels, panels[0].element, h("div", { class: "grid" }, panels.slice(1).map((panel) => panel.element)));
}
