// What failed, whose fault it was, and where.

import { align } from "../charts.js";
import { h } from "../dom.js";
import { Nothing, Panel } from "../panel.js";
import { chartPanel, groupPanel, measures, notCovered, overTime, tilesPanel, view } from "../pieces.js";
import { dimensionName, question, valueText } from "../question.js";
import { sorted, table } from "../table.js";
import { errorsChart } from "./overview.js";

/** Who an outcome speaks of. */
const sides = {
  ok: "upstream", client_error: "upstream", upstream_error: "upstream", upstream_timeout: "upstream",
  upstream_unreachable: "upstream", auth_failed: "gateway", rate_limited: "gateway", quota_exceeded: "gateway",
  blocked: "gateway", too_large: "gateway", gateway_error: "gateway", client_aborted: "client",
};

/** What an outcome means. */
const meanings = {
  ok: "answered by the upstream", client_error: "the upstream answered 4xx", upstream_error: "the upstream answered 5xx or broke off",
  upstream_timeout: "the upstream took too long", upstream_unreachable: "no connection to the upstream",
  auth_failed: "no valid credential", rate_limited: "over the rate limit", quota_exceeded: "over the quota",
  blocked: "refused by a rule", too_large: "over a size limit", client_aborted: "the client went away",
  gateway_error: "the gateway failed",
};

/** The view. */
export function errors(context) {
  const { catalogue } = context;
  const tiles = tilesPanel(context, [
    { metric: "errors", label: "Errors", isBad: true },
    { metric: "error_rate", label: "Error rate", isBad: true },
    { metric: "server_errors", label: "Server errors", isBad: true },
    { metric: "client_errors", label: "Client errors", isBad: true },
    { metric: "aborted", label: "Aborted by clients", isBad: true },
    { metric: "requests", label: "Requests" },
  ]);
  const rate = chartPanel(context, {
    title: "Error rate", id: "error-rate", className: "half",
    ask: () => overTime(context, ["error_rate"]),
    build: async (answer) => {
      const axis = align(answer);
      return {
        axis, unit: "ratio", label: "Error rate over time",
        series: [{
          label: "error rate", colour: "--status-5", kind: "line", fill: "origin",
          values: measures(axis.series.get(""), axis.starts.length, "error_rate"),
        }],
      };
    },
  });
  const codes = codesPanel(context);
  const metrics = ["errors", "error_rate", "server_errors", "client_errors", "requests"];
  const places = [["route", "Routes with errors"], ["api", "APIs with errors"], ["application", "Applications with errors"],
    ["key", "Keys with errors"], ["upstream", "Upstreams with errors"]]
    .filter(([name]) => catalogue.covers([name], []) && catalogue.dimensions.includes(name))
    .map(([name, title], index, all) => groupPanel(context, {
      title, id: `errors-${name}`, className: index === all.length - 1 && index % 2 === 0 ? "full" : "half", groups: () => [name], metrics, sort: "-errors", limit: 12,
      keep: (row) => row.errors > 0,
    }));
  const panels = [tiles, errorsChart(context, { className: "half" }), rate, codes, ...places];
  return view(panels, tiles.element, h("div", { class: "grid" }, panels.slice(1).map((panel) => panel.element)));
}

/** Status codes with the outcome: what the client saw and who caused it. */
function codesPanel(context) {
  let sort = "-errors";
  const panel = new Panel(context, {
    title: "What clients saw", id: "codes", className: "full",
    load: async (signal, self) => {
      const { state, catalogue, client } = context;
      const groups = [["status", "outcome"], ["status"], ["status_class"]].find((names) => catalogue.covers(names, state.filters));
      if (!groups) return notCovered(["status_class"], state.filters);
      const metrics = ["requests", "errors", "aborted", "latency_p50", "latency_p95"];
      const parameters = question(state, { metrics, groups, order: "-errors", limit: 1000 });
      self.offer("codes", parameters);
      const answer = await client.usage(parameters, signal);
      self.title = groups.includes("outcome") ? "What clients saw, and who caused it" : "What clients saw";
      const failed = answer.rows.filter((row) => row.errors > 0 || row.aborted > 0);
      if (failed.length === 0) return new Nothing("No errors", "Every request in this range went well.");
      const all = failed.reduce((sum, row) => sum + row.errors, 0);
      const hasOutcome = groups.includes("outcome");
      const columns = [
        ...groups.map((name) => ({ key: name, label: dimensionName(name), kind: "group" })),
        ...(hasOutcome ? [
          { key: "side", label: "Caused at", kind: "text" },
          { key: "meaning", label: "Meaning", kind: "text" },
        ] : []),
        { key: "errors", label: "Errors", unit: "count", bar: true },
        { key: "share", label: "Share", unit: "ratio" },
        { key: "aborted", label: "Aborted", unit: "count" },
        { key: "latency_p50", label: "p50", unit: "seconds" },
        { key: "latency_p95", label: "p95", unit: "seconds" },
        ...(catalogue.meta.records ? [{ key: "records", label: "Records", kind: "text", render: (row) => recordsLink(context, groups, row) }] : []),
      ];
      const rows = failed.map((row) => ({
        ...row, share: all > 0 ? row.errors / all : null, side: side(row), meaning: meanings[row.outcome] ?? "",
      }));
      return table(columns, sorted(rows, sort), {
        caption: "Errors by status and outcome", sort, onFilter: context.addFilter,
        onSort: (next) => {
          sort = next;
          panel.refresh();
        },
      });
    },
  });
  return panel;
}

/** From a row to its requests. */
function recordsLink(context, groups, row) {
  const where = groups.map((name) => ({ dimension: name, op: "eq", value: row[name] === null ? "" : String(row[name]) }));
  return h("a", { href: context.link({ view: "records", where, record: null, by: null, metric: null, sort: null }) }, "show");
}

function side(row) {
  if (!row.outcome) return valueText(null);
  // A 4xx that the upstream answered is the client's to mend.
  if (row.outcome === "client_error") return "client";
  if (row.outcome === "auth_failed" || row.outcome === "rate_limited" || row.outcome === "quota_exceeded") return "client, at the gateway";
  return sides[row.outcome] ?? row.outcome;
}

