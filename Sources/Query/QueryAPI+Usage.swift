import Rollups

extension QueryAPI {
    /// Answers a question of `/v1/usage` or `/v1/top`.
    func usage(
        _ request: APIRequest,
        _ kind: UsageRequest.Kind
    ) async throws(Problem) -> APIReply {
        let scope = try await access.scope(authorization: request.authorization)
        let parameters = try await parameters(request)
        let time = now()
        let question = try UsageRequest(parameters, now: time, kind: kind)
        if question.limit == nil { return try await export(question, scope, time) }
        let known = request.method == "POST" ? nil : request.ifNoneMatch
        return try await answer(question, scope, time, ifNoneMatch: known)
    }

    /// Answers a question, from the answers given before if nothing has changed.
    private func answer(
        _ question: UsageRequest,
        _ scope: TokenScope,
        _ time: Int64,
        ifNoneMatch: String?
    ) async throws(Problem) -> APIReply {
        let (engine, answers) = (engine, answers)
        return try await database.read { connection throws(QueryFailure) in
            var tag: String?
            var found: APIReply?
            let answer = try engine.answer(question, scope: scope, now: time, connection) {
                decided in
                tag = Self.tag(question, scope, decided)
                guard let tag else { return false }
                found =
                    Self.matches(ifNoneMatch, tag)
                    ? APIReply(notModified: tag) : answers.reply(tag)
                return found != nil
            }
            guard let answer else { return found ?? APIReply(notModified: tag ?? "") }
            var reply = APIReply(
                UsageWriter.mediaType(question.format),
                UsageWriter.body(answer)
            )
            if let next = answer.next {
                reply.headers.append(("Sluice-Truncated", "true"))
                reply.headers.append(("Sluice-Next", next.text))
            }
            if let tag {
                reply.addValidator(tag)
                answers.keep(reply, tag)
            }
            return reply
        }
    }

    /// The entity tag of an answer: what was asked, what may be seen, and the state of the data.
    ///
    /// None where keys may move into `__other__` at any time, which no fold announces.
    private static func tag(
        _ question: UsageRequest,
        _ scope: TokenScope,
        _ decided: UsageEngine.Decided
    ) -> String? {
        guard !decided.freshness.hasOther else { return nil }
        let parts = [
            "\(question.fingerprint)", "\(scope)", "\(decided.plan.from)", "\(decided.plan.to)",
            question.format.rawValue, question.limit.map { "\($0)" } ?? "",
            question.cursor?.text ?? "", decided.plan.rollup.name,
            decided.plan.granularity.rawValue, "\(decided.freshness.generation)",
            decided.freshness.state, Zone.databaseVersion,
        ]
        // 256 bits: who could make two questions collide would only confuse themselves, but an
        // accident must never happen.
        let text = parts.map { "\($0.utf8.count):\($0)" }.joined()
        return "W/\"" + TokenStore.hash(text).prefix(16).map { Self.hexadecimal($0) }.joined()
            + "\""
    }

    private static func hexadecimal(_ byte: UInt8) -> String {
        let text = String(byte, radix: 16)
        return byte < 16 ? "0" + text : text
    }

    /// Whether `If-None-Match` names a tag; tags of this API are weak, so W/ does not count.
    private static func matches(_ header: String?, _ tag: String) -> Bool {
        guard let header else { return false }
        let bare = tag.dropFirst(2)
        return header.split(separator: ",").contains { part in
            let text = part.drop { $0 == " " }.prefix { $0 != " " }
            return text == "*" || text == bare || text == tag
        }
    }

    /// Answers with every row, written as it is read.
    private func export(
        _ question: UsageRequest,
        _ scope: TokenScope,
        _ time: Int64
    ) async throws(Problem) -> APIReply {
        let (engine, database) = (engine, database)
        // A refusal must come before the first byte.
        var trial = question
        trial.limit = 1
        trial.fill = .none
        trial.metrics = [.requests]
        let checked = trial
        try await database.read { connection throws(QueryFailure) in
            _ = try engine.answer(checked, scope: scope, now: time, connection)
        }
        var reply = APIReply(UsageWriter.mediaType(question.format))
        reply.stream = ExportStream { channel in
            try await database.export { connection throws(QueryFailure) in
                try engine.export(question, scope: scope, now: time, connection) {
                    ExportSink($0, channel)
                }
            }
        }
        return reply
    }

    /// The parameters of a question, from the query string or from the body.
    func parameters(_ request: APIRequest) async throws(Problem) -> UsageParameters {
        guard request.method == "POST" else { return try UsageParameters(query: request.query) }
        guard request.query.isEmpty else {
            throw Problem(.invalidBody, "send the fields in the JSON body, not in the URL")
        }
        try checkMediaType(request.contentType)
        return try UsageParameters(json: try await request.body())
    }

    private func checkMediaType(_ contentType: String?) throws(Problem) {
        let essence = (contentType ?? "application/json").prefix { $0 != ";" }
        guard essence.lowercased().filter({ $0 != " " }) == "application/json" else {
            throw Problem(.unsupportedMediaType, "send Content-Type: application/json")
        }
    }
}

extension APIReply {
    /// The answer to a client that has the current one already.
    init(notModified tag: String) {
        self.init("", [])
        status = 304
        headers = []
        addValidator(tag)
    }

    /// Lets the client keep the answer and ask whether it still holds.
    mutating func addValidator(_ tag: String) {
        headers.append(("ETag", tag))
        headers.append(("Cache-Control", "private, no-cache"))
        headers.append(("Vary", "Authorization"))
    }
}
