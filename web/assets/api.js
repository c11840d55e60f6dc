// The query API as this page uses it: one client per sign-in.

/** Longest query string sent with GET; longer questions go as JSON. */
const queryLengthMax = 6000;

/** An answer that is not 2xx: RFC 9457, or the lack of any answer (status 0). */
export class ProblemError extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `the server answered ${status}`);
    this.status = status;
    this.kind = (problem.type ?? "").replace("urn:sluice:problem:", "");
    this.title = problem.title ?? "No answer";
    this.parameter = problem.parameter;
  }
}

/** Addresses are relative to the page, so that a proxy may put the API below a prefix. */
export function endpoint(path) {
  return new URL(path, document.baseURI);
}

/** Asks the API with one token. */
export class Client {
  #token;
  #onUnauthorized;
  #answers = new Map();

  /** `onUnauthorized` is called when the server no longer takes the token. */
  constructor(token, onUnauthorized = () => {}) {
    this.#token = token;
    this.#onUnauthorized = onUnauthorized;
  }

  /** What this token may ask. */
  meta(signal) {
    return this.#json("v1/meta", [], signal);
  }

  /** The ledger, for tokens that may see it. */
  ledger(signal) {
    return this.#json("v1/ledger", [], signal);
  }

  /** The meters, with what was used in their open periods. */
  meters(signal) {
    return this.#json("v1/meters", [["open", "true"]], signal);
  }

  /** Closed periods of a meter. */
  meter(name, parameters, signal) {
    return this.#json(`v1/meters/${name}`, parameters, signal);
  }

  /** A page of raw records. */
  records(parameters, signal) {
    return this.#json("v1/records", parameters, signal);
  }

  /** One raw record, by `log/offset`. */
  record(identity, signal) {
    return this.#json(`v1/records/${identity}`, [], signal);
  }

  /**
   * The answer to a question. Panels that ask the same within one refresh share an answer.
   */
  usage(parameters, signal) {
    const key = JSON.stringify(parameters);
    const known = this.#answers.get(key);
    if (known) return known;
    const answer = this.#json("v1/usage", parameters, signal);
    this.#answers.set(key, answer);
    answer.catch(() => this.#answers.delete(key));
    return answer;
  }

  /** Forgets shared answers: the next questions are asked anew. */
  beginRefresh() {
    this.#answers.clear();
  }

  /** The same question as CSV, byte for byte as the server wrote it. */
  async csv(parameters, path = "v1/usage") {
    const response = await this.#send(path, [...parameters, ["format", "csv"]]);
    // The browser may keep a large one on disk.
    return { content: await response.blob(), isTruncated: response.headers.get("Sluice-Truncated") === "true" };
  }

  /** Prometheus metrics; null where the server's proxy keeps them inside. */
  async metrics(signal) {
    try {
      const response = await fetch(endpoint("metrics"), { signal, cache: "no-store", credentials: "omit" });
      return response.ok ? await response.text() : null;
    } catch {
      return null;
    }
  }

  async #json(path, parameters, signal) {
    const response = await this.#send(path, parameters, signal);
    return response.json();
  }

  async #send(path, parameters, signal) {
    const url = endpoint(path);
    const query = new URLSearchParams(parameters).toString();
    const request = {
      headers: { Authorization: `Bearer ${this.#token}` },
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal,
    };
    if (query.length > queryLengthMax && path === "v1/usage") {
      request.method = "POST";
      request.headers["Content-Type"] = "application/json";
      request.body = JSON.stringify(asBody(parameters));
    } else {
      url.search = query;
    }
    let response;
    try {
      response = await fetch(url, request);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ProblemError(0, { title: "No answer", detail: "the server cannot be reached" });
    }
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({ title: response.statusText }));
    const error = new ProblemError(response.status, problem);
    if (response.status === 401) this.#onUnauthorized(error);
    throw error;
  }
}

/** Parameters as the fields of a JSON body; repeated ones become arrays. */
function asBody(parameters) {
  const body = {};
  for (const [name, value] of parameters) {
    if (name === "filter") (body.filter ??= []).push(value);
    else body[name] = name === "limit" ? Number(value) : value;
  }
  return body;
}
