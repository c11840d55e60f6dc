// Ranges, buckets and time zones. Instants are milliseconds since the Unix epoch.

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;

/** Steps that the API knows, with their typical length. */
export const steps = {
  "1m": minute, "5m": 5 * minute, "15m": 15 * minute, "1h": hour, "1d": day, "1w": 7 * day, "1mo": 30.44 * day,
};

/** The step's name in words. */
export const stepNames = {
  "1m": "minute", "5m": "5 minutes", "15m": "15 minutes", "1h": "hour", "1d": "day", "1w": "week", "1mo": "month",
};

/** Ranges that one click gives. */
export const presets = [
  ["-15m", "15 min"], ["-1h", "1 h"], ["-6h", "6 h"], ["-24h", "24 h"], ["-7d", "7 d"], ["-30d", "30 d"],
  ["-90d", "90 d"],
];

const units = { s: 1000, m: minute, h: hour, d: day, w: 7 * day };

/** Milliseconds of a distance such as `-24h`; null for what is none. */
export function distance(text) {
  if (text === "now") return 0;
  const match = /^-(\d{1,8})([smhdw])$/.exec(text);
  return match ? -Number(match[1]) * units[match[2]] : null;
}

/** The instant that `from` or `to` of a question names. */
export function instant(text, now = Date.now()) {
  const relative = distance(text);
  return relative === null ? Date.parse(text) : now + relative;
}

/** RFC 3339 in UTC with whole seconds. */
export function rfc3339(time) {
  return new Date(time).toISOString().replace(/\.\d+Z$/, "Z");
}

/** Whether text can be `from` or `to`. */
export function isTime(text) {
  return distance(text) !== null || (/^\d{4}-\d\d-\d\dT/.test(text) && !Number.isNaN(Date.parse(text)));
}

/** The range of the same length that ends where this one starts. */
export function previous({ from, to }) {
  const [start, end] = [distance(from), distance(to)];
  if (start !== null && end !== null) {
    const text = (milliseconds) => `-${Math.round(-milliseconds / 1000)}s`;
    const earlier = start - (end - start);
    // The API takes eight digits of seconds, more than three years.
    if (-earlier < 99_999_999_000) return { from: text(earlier), to: text(start) };
  }
  return shifted({ from, to }, -1);
}

/** The range moved by whole lengths of its own, as fixed times. */
export function shifted({ from, to }, lengths) {
  const now = Date.now();
  const [start, end] = [instant(from, now), instant(to, now)];
  const by = (end - start) * lengths;
  return { from: rfc3339(start + by), to: rfc3339(end + by) };
}

/** The finest step that a tier allows with at most `most` buckets. */
export function chooseStep({ from, to }, finestTier, most = 180) {
  const now = Date.now();
  const length = instant(to, now) - instant(from, now);
  for (const [name, size] of Object.entries(steps)) {
    if (size >= (steps[finestTier] ?? minute) && length / size <= most) return name;
  }
  return "1mo";
}

// Zones ----------------------------------------------------------------------------------------

const formatters = new Map();

function formatter(zone, options) {
  const key = zone + JSON.stringify(options);
  let made = formatters.get(key);
  if (!made) {
    made = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23", ...options });
    formatters.set(key, made);
  }
  return made;
}

/** The browser's own zone. */
export function localZone() {
  return Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
}

/** Whether the browser knows the zone. */
export function isZone(name) {
  try {
    formatter(name, {});
    return true;
  } catch {
    return false;
  }
}

/** All zones that the browser knows. */
export function zones() {
  return Intl.supportedValuesOf?.("timeZone") ?? [];
}

/** Year, month, day, hour, minute and second on the clock of a zone. */
export function civil(time, zone) {
  const parts = { year: 0, month: 0, day: 0, hour: 0, minute: 0, second: 0 };
  const format = formatter(zone, {
    year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric",
  });
  for (const { type, value } of format.formatToParts(time)) {
    if (type in parts) parts[type] = Number(value);
  }
  return parts;
}

function asUTC(c) {
  return Date.UTC(c.year, c.month - 1, c.day, c.hour, c.minute, c.second);
}

/** Milliseconds by which the zone's clock is ahead of UTC. */
export function offset(time, zone) {
  const whole = Math.floor(time / 1000) * 1000;
  return asUTC(civil(whole, zone)) - whole;
}

/** The first instant at which the zone's clock shows `local` (as if UTC), or what follows a gap. */
export function instantOf(local, zone) {
  const candidates = [local - offset(local - day, zone), local - offset(local + day, zone)];
  const exact = candidates.filter((time) => time + offset(time, zone) === local);
  return exact.length > 0 ? Math.min(...exact) : Math.max(...candidates);
}

/** What `<input type="datetime-local">` shows for an instant. */
export function localInput(time, zone) {
  const c = civil(time, zone);
  const two = (number) => String(number).padStart(2, "0");
  return `${String(c.year).padStart(4, "0")}-${two(c.month)}-${two(c.day)}T${two(c.hour)}:${two(c.minute)}`;
}

/** The instant of what was typed into `<input type="datetime-local">`. */
export function fromLocalInput(text, zone) {
  return instantOf(Date.parse(`${text}Z`), zone);
}

// Buckets --------------------------------------------------------------------------------------

/**
 * Starts of the buckets between two instants, as the API makes them. Starts that rows have are
 * added, so that no row is lost where the browser's zone database differs from the server's.
 */
export function bucketStarts(step, from, to, zone, known = []) {
  const starts = new Set(known);
  if (step in steps && steps[step] < day) {
    addParts(starts, steps[step], from, to, zone);
  } else {
    addDates(starts, step, from, to, zone);
  }
  return [...starts].sort((a, b) => a - b);
}

/** Parts of the local day; a change of the offset starts a new one. */
function addParts(starts, size, from, to, zone) {
  let at = from;
  while (at < to) {
    const shift = offset(at, zone);
    const start = Math.floor((at + shift) / size) * size - shift;
    starts.add(Math.max(start, at === from ? start : at));
    const next = start + size;
    // Offsets change at quarters of an hour at the finest.
    at = size > 15 * minute && offset(next, zone) !== shift ? change(at, next, zone, shift) : next;
  }
}

/** The first quarter of an hour with another offset. */
function change(from, to, zone, shift) {
  for (let at = Math.ceil((from + 1) / (15 * minute)) * 15 * minute; at < to; at += 15 * minute) {
    if (offset(at, zone) !== shift) return at;
  }
  return to;
}

function addDates(starts, step, from, to, zone) {
  const c = civil(from, zone);
  let local = Date.UTC(c.year, c.month - 1, step === "1mo" ? 1 : c.day);
  if (step === "1w") local -= ((new Date(local).getUTCDay() + 6) % 7) * day;
  for (;;) {
    const start = instantOf(local, zone);
    if (start >= to) break;
    starts.add(start);
    if (step === "1mo") {
      const date = new Date(local);
      local = Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 1);
    } else {
      local += step === "1w" ? 7 * day : day;
    }
  }
}

// Text -----------------------------------------------------------------------------------------

const clock = { hour: "2-digit", minute: "2-digit" };
const date = { day: "numeric", month: "short" };

/** The time of day, with the date unless it is today. */
export function clockText(time, zone) {
  const text = formatter(zone, { ...clock, second: "2-digit" }).format(time);
  return Math.abs(Date.now() - time) < day / 2 ? text : shortMoment(time, zone);
}

/** A moment without its seconds. */
export function shortMoment(time, zone) {
  return formatter(zone, { ...date, year: "numeric", ...clock }).format(time);
}

/** A bucket in words, for tooltips and tables. */
export function bucketText(start, step, zone) {
  if (step === "1mo") return formatter(zone, { month: "long", year: "numeric" }).format(start);
  const whole = { weekday: "short", ...date, year: "numeric" };
  if (step === "1d") return formatter(zone, whole).format(start);
  if (step === "1w") return `week of ${formatter(zone, whole).format(start)}`;
  const end = formatter(zone, clock).format(start + steps[step]);
  return `${formatter(zone, { weekday: "short", ...date, ...clock }).format(start)} – ${end}`;
}

/** A range in words: its end without the date when that is the same. */
export function rangeText(from, to, zone) {
  const [a, b] = [civil(from, zone), civil(to, zone)];
  const sameDay = a.year === b.year && a.month === b.month && a.day === b.day;
  const end = sameDay ? formatter(zone, clock).format(to) : shortMoment(to, zone);
  return `${shortMoment(from, zone)} – ${end}`;
}

const tickMinutes = [1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 480, 720];
const tickDays = [1, 2, 7, 14];

/**
 * Labels of an axis: one per start, null where there is none. Only round times get one, and at most
 * about `most` of them.
 */
export function axisLabels(starts, step, zone, most = 8) {
  if (starts.length === 0) return [];
  const length = starts.at(-1) - starts[0] + (steps[step] ?? 0);
  if (step === "1mo") return months(starts, zone, Math.ceil(starts.length / most));
  if (length <= 3 * day * (most / 8) && steps[step] < day) {
    const every = tickMinutes.find((minutes) => length / (minutes * minute) <= most) ?? 1440;
    return starts.map((start) => {
      const c = civil(start, zone);
      const minutes = c.hour * 60 + c.minute;
      if (minutes % every !== 0) return null;
      return minutes === 0 ? formatter(zone, date).format(start) : formatter(zone, clock).format(start);
    });
  }
  const days = length / day;
  const every = tickDays.find((count) => days / count <= most);
  if (!every) return months(starts, zone, Math.ceil(days / 30.44 / most));
  const seen = new Set();
  return starts.map((start) => {
    const c = civil(start, zone);
    // 1970-01-05 was a Monday: fortnights and weeks begin on one.
    const number = Date.UTC(c.year, c.month - 1, c.day) / day - 4;
    if (number % every !== 0 || seen.has(number)) return null;
    seen.add(number);
    return formatter(zone, date).format(start);
  });
}

function months(starts, zone, every) {
  const seen = new Set();
  return starts.map((start) => {
    const c = civil(start, zone);
    const number = c.year * 12 + c.month - 1;
    if (number % Math.max(1, every) !== 0 || seen.has(number)) return null;
    seen.add(number);
    return formatter(zone, { month: "short", year: c.month === 1 ? "numeric" : undefined }).format(start);
  });
}
