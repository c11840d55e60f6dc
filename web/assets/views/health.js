// The pipeline itself: how fresh the numbers are, and whether every record is accounted for.

import { h } from "../dom.js";
import { compact, count, ratio, span } from "../format.js";
import { Nothing, Panel } from "../panel.js";
import { view } from "../pieces.js";
import { asCSV, sorted, table } from "../table.js";
import { dimensionName } from "../question.js";
import { clockText, shortMoment } from "../time.js";

/** Members of a log that are not counts of records. */
const descriptive = new Set(["log_id", "node", "region", "started_at", "heartbeat_at", "ended_at", "state", "rank"]);

/** Columns of the ledger that come first; others follow as the server has them. */
const firstCounts = ["appended", "folded", "pending", "dead_lettered", "expired", "damaged"];

const logsMax = 50;

/** The view. */
export function health(context) {
  const panels = [summaryPanel(context)];
  if (context.catalogue.scope.name === "admin") panels.push(lagPanel(context), ledgerPanel(context));
  panels.push(rollupsPanel(context));
  return view(panels, panels[0].element, h("div", { class: "grid" }, panels.slice(1).map((panel) => panel.element)));
}

function ledger(context, signal) {
  return context.catalogue.scope.name === "admin" ? context.client.ledger(signal) : Promise.resolve(null);
}

function sum(logs, name) {
  return logs.reduce((total, log) => total + (log[name] ?? 0), 0);
}

function tile(label, text, detail, tone = "") {
  const [number, suffix] = text.split(/\u00a0(.*)/s);
  return h("div", { class: "tile" },
    h("div", { class: "tile-label" }, label),
    h("div", { class: `tile-value ${tone}` }, number, suffix && h("span", { class: "unit" }, suffix)),
    h("div", { class: "tile-change" }, detail));
}

function summaryPanel(context) {
  return new Panel(context, {
    title: "Summary", id: "tiles", className: "bare",
    load: async (signal) => {
      const [meta, accounts] = await Promise.all([context.client.meta(signal), ledger(context, signal)]);
      context.onAnswer(meta);
      const zone = context.state.tz;
      const behind = meta.complete_to === null ? null : Math.max(0, (Date.parse(meta.now) - Date.parse(meta.complete_to)) / 1000);
      const tone = behind === null ? "" : behind < 60 ? "tone-good" : behind < 600 ? "tone-warn" : "tone-bad";
      const tiles = [tile("Freshness", span(behind), meta.complete_to === null ? "no log yet"
        : `complete to ${clockText(Date.parse(meta.complete_to), zone)}`, tone)];
      if (accounts) {
        const logs = accounts.logs;
        const open = logs.filter((log) => log.state === "open").length;
        const gone = logs.filter((log) => log.state === "assumed_gone").length;
        const appended = sum(logs, "appended");
        const pending = sum(logs, "pending");
        const dead = sum(logs, "dead_lettered");
        const lost = sum(logs, "damaged") + sum(logs, "expired");
        tiles.push(
          tile("Records", compact(appended), `${count(sum(logs, "folded"))} folded`),
          tile("Pending", compact(pending), appended > 0 ? `${ratio((appended - pending) / appended)} accounted for` : "nothing appended",
            pending > 0 && open === 0 ? "tone-warn" : ""),
          tile("Dead letters", compact(dead), dead > 0 ? "see sluice dlq ls" : "none", dead > 0 ? "tone-warn" : ""),
          tile("Damaged or expired", compact(lost), lost > 0 ? "see sluice status" : "none", lost > 0 ? "tone-bad" : ""),
          tile("Logs", compact(logs.length), gone > 0 ? `${open} open, ${gone} silent` : `${open} open`, gone > 0 ? "tone-warn" : ""),
        );
      }
      return h("div", { class: "tiles" }, tiles);
    },
  });
}

/** Lags that the server's metrics show, where they can be read. */
function lagPanel(context) {
  return new Panel(context, {
    title: "Lags", id: "lags", className: "full",
    load: async (signal, self) => {
      const text = await context.client.metrics(signal);
      if (text === null) return new Nothing("Not to be seen from here", "/metrics is kept inside by the server or its proxy.");
      const rows = [...text.matchAll(/^([a-z_]*_(?:lag|pending|queue)[a-z_]*)(?:\{([^}]*)\})? ([0-9.eE+-]+)$/gm)]
        .filter(([, name]) => !/_(bucket|sum|count)$/.test(name))
        .map(([, name, labels, value]) => ({ name, labels: (labels ?? "").replaceAll('"', ""), value: Number(value) }));
      if (rows.length === 0) {
        return new Nothing("No lags in this process", "Each role shows its own under /metrics; sluice status gathers them.");
      }
      const columns = [
        { key: "name", label: "Metric", kind: "text" }, { key: "labels", label: "Of", kind: "text" },
        { key: "value", label: "Value", unit: "count" },
      ];
      self.offerText("lags", () => asCSV(columns, rows));
      return table(columns, rows, { caption: "Lags" });
    },
  });
}

function badge(state) {
  return h("span", { class: `badge badge-${state}` }, state.replace("_", " "));
}

function ledgerPanel(context) {
  let sort = null;
  const panel = new Panel(context, {
    title: "Ledger", id: "ledger", className: "full",
    load: async (signal, self) => {
      const answer = await context.client.ledger(signal);
      // What still grows comes first, then as the server has it: the latest first.
      const logs = sorted(answer.logs.map((log) => ({ ...log, rank: log.state === "open" ? 0 : 1 })), "rank");
      if (logs.length === 0) return new Nothing("No logs yet", "A gateway or an import makes the first one.");
      const zone = context.state.tz;
      const time = (name) => (log) => (!log[name] ? "" : shortMoment(Date.parse(log[name]), zone));
      const others = Object.keys(logs[0]).filter((name) => !descriptive.has(name) && !firstCounts.includes(name)
        && logs.some((log) => typeof log[name] === "number" && log[name] > 0));
      const all = [
        { key: "log_id", label: "Log", kind: "text", render: (log) => log.log_id && h("code", { title: log.log_id }, log.log_id.slice(0, 8)) },
        { key: "node", label: "Node", kind: "text" },
        { key: "region", label: "Region", kind: "text" },
        { key: "state", label: "State", kind: "text", render: (log) => log.state && badge(log.state) },
        { key: "started_at", label: "Started", kind: "text", render: time("started_at") },
        { key: "heartbeat_at", label: "Heartbeat", kind: "text", render: time("heartbeat_at") },
        ...[...firstCounts, ...others].map((name) => ({
          key: name, label: name.replaceAll("_", " ").replace(/^./, (first) => first.toUpperCase()), unit: "count",
          tone: name === "damaged" || name === "dead_lettered" ? (log) => (log[name] > 0 ? "tone-warn" : "") : undefined,
        })),
      ];
      const total = { node: "All logs" };
      for (const name of [...firstCounts, ...others]) total[name] = sum(logs, name);
      self.note = logs.length > logsMax ? `${logsMax} of ${count(logs.length)} logs; the CSV has all` : `${count(logs.length)} logs`;
      const csvColumns = Object.keys(answer.logs[0]).map((key) => ({ key }));
      self.offerText("ledger", () => asCSV(csvColumns, logs));
      return table(all, sorted(logs, sort).slice(0, logsMax), {
        caption: "What became of every offset of every log", sort,
        foot: total,
        onSort: (next) => {
          sort = next;
          panel.refresh();
        },
      });
    },
  });
  return panel;
}

function rollupsPanel(context) {
  return new Panel(context, {
    title: "Rollups", id: "rollups", className: "full",
    load: async (signal, self) => {
      const meta = await context.client.meta(signal);
      const rows = meta.rollups.map((rollup) => ({
        name: rollup.name, dimensions: rollup.dimensions.map(dimensionName).join(", "), tiers: rollup.tiers.join(", "),
        complete_since: rollup.complete_since,
      }));
      const columns = [
        { key: "name", label: "Rollup", kind: "text" },
        { key: "dimensions", label: "Dimensions", kind: "text" },
        { key: "tiers", label: "Tiers", kind: "text" },
        { key: "complete_since", label: "Complete since", kind: "text",
          render: (row) => (row.complete_since === null ? "not known" : shortMoment(Date.parse(row.complete_since), context.state.tz)) },
      ];
      self.note = `time-zone database ${meta.time_zone_database}`;
      self.offerText("rollups", () => asCSV(columns, rows));
      return table(columns, rows, { caption: "Rollups" });
    },
  });
}
