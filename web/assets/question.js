// Questions to /v1/usage, and which of them the server's rollups can answer.

import { filterText } from "./state.js";
import { chooseStep, instant, steps } from "./time.js";

/** Dimensions in words, in the order in which they are offered. */
export const dimensionNames = {
  org: "Organisation", api: "API", version: "Version", route: "Route", method: "Method", status: "Status",
  status_class: "Status class", outcome: "Outcome", application: "Application", key: "Key", plan: "Plan",
  region: "Region", upstream: "Upstream", country: "Country", platform: "Platform", user_agent: "User agent",
};

/** A dimension in words; user-defined ones by their name. */
export function dimensionName(name) {
  return dimensionNames[name] ?? name;
}

/** A dimension within a sentence. */
export function dimensionWord(name) {
  const text = dimensionName(name);
  return /^[A-Z]{2}/.test(text) ? text : text.toLowerCase();
}

/** Metrics in words. */
export const metricNames = {
  requests: "Requests", errors: "Errors", client_errors: "Client errors", server_errors: "Server errors",
  error_rate: "Error rate", aborted: "Aborted", bytes_in: "Bytes in", bytes_out: "Bytes out",
  latency_avg: "Mean", latency_min: "Min", latency_max: "Max", latency_p50: "p50", latency_p90: "p90",
  latency_p95: "p95", latency_p99: "p99", latency_p999: "p99.9", upstream_avg: "Upstream mean",
  upstream_p50: "Upstream p50", upstream_p90: "Upstream p90", upstream_p95: "Upstream p95",
  upstream_p99: "Upstream p99", unique_clients: "Clients", unique_keys: "Keys",
};

/** A value of a dimension in words. */
export function valueText(value) {
  if (value === null || value === undefined || value === "") return "(none)";
  if (value === "__other__") return "(other)";
  if (value === "__unmatched__") return "(no route)";
  return String(value);
}

/** What a token may ask, from `/v1/meta`. */
export class Catalogue {
  constructor(meta) {
    this.meta = meta;
    this.scope = meta.scope;
    this.units = new Map(meta.metrics.map((metric) => [metric.name, metric]));
  }

  /** The dimensions on offer, in the usual order; without those of which the token sees one value. */
  get dimensions() {
    const order = Object.keys(dimensionNames);
    const rank = (name) => (order.includes(name) ? order.indexOf(name) : order.length);
    return this.meta.dimensions.filter((name) => !(name in this.scope)).sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
  }

  /** Whether the server knows a metric. */
  knows(metric) {
    return this.units.has(metric);
  }

  /** `count`, `bytes`, `seconds` or `ratio`. */
  unit(metric) {
    return this.units.get(metric)?.unit ?? "count";
  }

  /** The rollups that have all of `dimensions`, those with the finest tier first. */
  covering(dimensions) {
    const has = (rollup, name) =>
      rollup.dimensions.includes(name) || (name === "status_class" && rollup.dimensions.includes("status"));
    const finest = (rollup) => Math.min(...rollup.tiers.map((tier) => steps[tier]));
    return this.meta.rollups
      .filter((rollup) => dimensions.every((name) => has(rollup, name)))
      .sort((a, b) => finest(a) - finest(b));
  }

  /** Whether some rollup can group by `groups` under the filters. */
  covers(groups, filters) {
    return this.covering([...groups, ...filters.map((filter) => filter.dimension)]).length > 0;
  }

  /** The finest tier for a question. */
  finestTier(groups, filters) {
    const rollup = this.covering([...groups, ...filters.map((filter) => filter.dimension)])[0];
    return rollup ? rollup.tiers.reduce((a, b) => (steps[a] <= steps[b] ? a : b)) : "1m";
  }
}

/** The step of a chart: the chosen one, as far as the rollup has a tier that fine. */
export function stepFor(state, catalogue, groups = [], most = 180) {
  const finest = catalogue.finestTier(groups, state.filters);
  if (state.step === "auto") return chooseStep(state, finest, most);
  const wanted = steps[state.step] >= steps[finest] ? state.step : finest;
  const now = Date.now();
  const count = (instant(state.to, now) - instant(state.from, now)) / steps[wanted];
  // More bars than pixels help nobody.
  return count <= 2000 ? wanted : chooseStep(state, finest, 2000);
}

/**
 * The parameters of a question about the state's range and filters, as the API names them.
 *
 * `range` replaces the state's range, `extra` are further filters.
 */
export function question(state, { metrics, groups = [], step = "total", order, limit, range, extra = [] }) {
  const parameters = [
    ["from", (range ?? state).from],
    ["to", (range ?? state).to],
    ["granularity", step],
    ["tz", state.tz],
    ["metrics", metrics.join(",")],
  ];
  if (groups.length > 0) parameters.push(["group_by", groups.join(",")]);
  for (const filter of [...state.filters, ...extra]) parameters.push(["filter", filterText(filter)]);
  if (order) parameters.push(["order", order]);
  if (limit) parameters.push(["limit", String(limit)]);
  return parameters;
}

/** The question as a command for a shell; the token comes from the environment. */
export function curl(parameters, base, format, path = "v1/usage") {
  const quote = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const all = format ? [...parameters, ["format", format]] : parameters;
  return [
    `curl --get ${quote(new URL(path, base).href)}`,
    `  --header "Authorization: Bearer $SLUICE_TOKEN"`,
    ...all.map(([name, value]) => `  --data-urlencode ${quote(`${name}=${value}`)}`),
  ].join(" \\\n");
}

/** The question for `sluice query`, which reads the token from `SLUICE_TOKEN`. */
export function command(parameters, base) {
  const quote = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  return [
    `sluice query --url ${quote(new URL(".", base).href.replace(/\/$/, ""))}`,
    ...parameters.map(([name, value]) => `  --${name.replace("_", "-")}=${quote(value)}`),
  ].join(" \\\n");
}
