// The requests themselves: a page at a time, with everything that was recorded of one.

import { open } from "../dialogs.js";
import { h, renew } from "../dom.js";
import { bytes, count, seconds } from "../format.js";
import { Nothing, Panel } from "../panel.js";
import { view } from "../pieces.js";
import { dimensionName, valueText } from "../question.js";
import { filterText, parseWhere } from "../state.js";
import { table } from "../table.js";
import { shortMoment } from "../time.js";

/** Records of one page. */
const pageSize = 50;

/** Most records on the page: more are for the CSV. */
const shownMax = 1000;

const operators = {
  eq: "is", ne: "is not", in: "is one of", nin: "is none of", prefix: "begins with", ge: "is at least", lt: "is less than",
};

/** The fields of a record by what they speak of. */
const sections = [
  ["Request", ["completed_at", "started_at", "method", "scheme", "host", "path", "query", "route", "org", "api", "version"]],
  ["Answer", ["status", "outcome", "error", "latency", "gateway_latency", "bytes_in", "bytes_out", "cache", "retries"]],
  ["Upstream", ["upstream", "upstream_status", "upstream_latency", "upstream_connect", "upstream_first_byte"]],
  ["Client", ["application", "key", "developer", "plan", "client_ip", "country", "platform", "user_agent", "user_agent_string"]],
  ["Record", ["node", "region", "request_id", "trace_id", "tags", "log_id", "offset"]],
];

/** A field in words. */
function fieldName(name) {
  const words = { latency: "Duration", client_ip: "Client address", user_agent: "User agent", user_agent_string: "User agent, whole",
    log_id: "Log", request_id: "Request id", trace_id: "Trace id", bytes_in: "Bytes in", bytes_out: "Bytes out" };
  return words[name] ?? (dimensionName(name) !== name ? dimensionName(name) : name.replaceAll("_", " ").replace(/^./, (first) => first.toUpperCase()));
}

/** The view. */
export function records(context) {
  let shownFor = null;
  const panel = new Panel(context, {
    title: "Records", id: "records", className: "full",
    load: async (signal, self) => {
      const { state, client, catalogue } = context;
      if (!catalogue.meta.records) {
        return new Nothing("Records are not kept", "The configuration of the aggregators says for how long: records: { retain: 3d }.");
      }
      const parameters = [["from", state.from], ["to", state.to], ["tz", state.tz],
        ...[...state.filters, ...state.where].map((filter) => ["filter", filterText(filter)])];
      self.offer("records", [...parameters, ["limit", "none"]], "v1/records");
      const answer = await client.records([...parameters, ["limit", String(pageSize)]], signal);
      const rows = answer.rows;
      const since = answer.complete_since && Date.parse(answer.complete_since) > Date.parse(answer.from)
        ? `kept since ${shortMoment(Date.parse(answer.complete_since), state.tz)}` : "";
      self.note = since;
      if (state.record && shownFor !== state.record) showRecord(context, state.record);
      shownFor = state.record;
      const list = h("div", {});
      const say = h("span", { class: "detail", role: "status" });
      let next = answer.next;
      const more = h("button", { type: "button", class: "button", onclick: async () => {
        more.disabled = true;
        try {
          const page = await client.records([...parameters, ["limit", String(pageSize)], ["cursor", next]], signal);
          rows.push(...page.rows);
          next = page.next;
          draw();
        } catch (error) {
          if (error.name !== "AbortError") context.say(error.message);
        }
        more.disabled = false;
      } }, "Older records");
      const draw = () => {
        renew(list, rows.length === 0
          ? h("div", { class: "empty" }, h("p", {}, "No records"), h("p", { class: "detail" }, "Nothing matches the range and the conditions."))
          : table(columns(context), rows, { caption: "Records, newest first", onFilter: context.addFilter }));
        more.hidden = next === null || rows.length >= shownMax;
        say.textContent = rows.length === 0 ? "" : `${count(rows.length)} records${next === null ? "" : rows.length >= shownMax ? "; the CSV has more" : " so far"}`;
      };
      draw();
      return [conditions(context), list, h("div", { class: "records-more" }, say, more)];
    },
  });
  return view([panel], h("div", { class: "grid" }, panel.element));
}

function columns(context) {
  const { scope } = context.catalogue;
  const zone = context.state.tz;
  const time = (row) => h("button", {
    type: "button", class: "value record-open", title: "Everything of this record",
    onclick: () => context.navigate({ record: `${row.log_id}/${row.offset}` }),
  }, `${shortMoment(Date.parse(row.completed_at), zone)}`, h("span", { class: "detail" }, row.completed_at.slice(16, 23)));
  return [
    { key: "completed_at", label: "Time", kind: "text", render: time },
    ...(scope.name === "admin" ? [{ key: "org", label: "Organisation", kind: "group" }] : []),
    { key: "api", label: "API", kind: "group" },
    { key: "method", label: "Method", kind: "text" },
    { key: "path", label: "Path", kind: "text", render: (row) => h("code", { title: row.path ?? row.route }, row.path ?? row.route ?? "") },
    { key: "status", label: "Status", kind: "text", tone: (row) => (row.error === "server" ? "tone-bad" : row.error === "client" ? "tone-warn" : ""),
      render: (row) => (row.status === null ? "–" : String(row.status)) },
    { key: "outcome", label: "Outcome", kind: "text" },
    { key: "latency", label: "Duration", unit: "seconds" },
    { key: "bytes_out", label: "Bytes out", unit: "bytes" },
    ...(scope.name === "application" ? [] : [{ key: "application", label: "Application", kind: "text" }]),
    { key: "client_ip", label: "Client", kind: "text" },
  ];
}

/** The conditions that only records know, and the form for another one. */
function conditions(context) {
  const { state, catalogue } = context;
  const { fields, filter_operators: known } = catalogue.meta.records;
  const field = h("select", { name: "field", "aria-label": "Field" },
    fields.map(({ name }) => h("option", { value: name, selected: name === "status" }, fieldName(name))));
  const op = h("select", { name: "op", "aria-label": "Condition" }, known.map((name) => h("option", { value: name }, operators[name] ?? name)));
  const value = h("input", { name: "value", "aria-label": "Value", autocomplete: "off", spellcheck: "false", placeholder: "empty: not there" });
  return h("form", { class: "records-where", onsubmit: (event) => {
    event.preventDefault();
    const condition = parseWhere(`${field.value}:${op.value}:${value.value}`);
    if (condition) context.navigate({ where: [...state.where, condition], record: null });
  } },
  state.where.map((filter, index) => h("span", { class: "chip" },
    h("span", {}, `${fieldName(filter.dimension)} ${operators[filter.op]} ${valueText(filter.value)}`),
    h("button", {
      type: "button", "aria-label": `Remove ${filterText(filter)}`, title: "Remove",
      onclick: () => context.navigate({ where: state.where.filter((_, other) => other !== index) }),
    }, "×"))),
  field, op, value, h("button", { type: "submit", class: "button" }, "Add condition"));
}

function fieldText(name, value, zone) {
  if (value === null || value === undefined) return null;
  if (name === "completed_at" || name === "started_at") return `${shortMoment(Date.parse(value), zone)} (${value})`;
  if (/latency|connect|first_byte/.test(name)) return seconds(value);
  if (name.startsWith("bytes")) return `${bytes(value)} (${count(value)})`;
  if (Array.isArray(value)) return value.length > 0 ? value.join("\n") : null;
  return String(value);
}

/** Shows everything that was recorded of one request. */
async function showRecord(context, identity) {
  const close = () => {
    if (context.state.record === identity) context.navigate({ record: null });
  };
  let record;
  try {
    record = await context.client.record(identity);
  } catch (error) {
    context.say(error.message);
    close();
    return;
  }
  const zone = context.state.tz;
  const known = new Set(sections.flatMap(([, names]) => names));
  const others = Object.keys(record).filter((name) => !known.has(name) && name !== "status_class");
  const groups = [...sections, ["Other", others]].map(([title, names]) => {
    const shown = names.map((name) => [name, fieldText(name, record[name], zone)]).filter(([, text]) => text !== null);
    return shown.length > 0 && h("section", {}, h("h3", {}, title),
      h("dl", { class: "record-fields" }, shown.map(([name, text]) => [h("dt", {}, fieldName(name)), h("dd", {}, text)])));
  });
  open(`${record.method ?? ""} ${record.path ?? record.route ?? "Record"}`.trim(), h("div", { class: "record", tabindex: "0" }, groups), { onClose: close });
}
