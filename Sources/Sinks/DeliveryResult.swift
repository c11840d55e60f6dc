package import EventLog
package import Records

/// What became of each part of a batch, kept compactly: everything that is not listed was accepted.
package struct DeliveryResult: Sendable, Equatable {
    /// What became of parts that were not accepted.
    package enum Verdict: Sendable, Equatable {
        /// Send it again later.
        case retry
        /// The destination will never take it.
        case rejected(SkipReason)
    }

    /// Parts with one fate, by their names.
    package struct Exception: Sendable, Equatable {
        /// The names: offsets of records, first offsets of markers.
        package var offsets: Range<Offset>
        /// What became of them.
        package var verdict: Verdict
    }

    /// What was not accepted; ascending and disjoint once the result is sorted.
    package private(set) var exceptions: [Exception] = []
    /// What went wrong last, for people.
    package var reason: String?
    /// Whether nothing at all was accepted and everything is to be sent again.
    package private(set) var retriesAll = false

    /// Everything was accepted.
    package init() {}

    /// Everything was accepted.
    package static var accepted: DeliveryResult { DeliveryResult() }

    /// Nothing was accepted.
    package static func retryAll(_ error: SinkError) -> DeliveryResult {
        var result = DeliveryResult()
        result.retriesAll = true
        result.reason = "\(error)"
        return result
    }

    /// Notes that a part was not accepted; in any order, each part once.
    package mutating func add(_ offset: Offset, _ verdict: Verdict) {
        if let last = exceptions.indices.last, exceptions[last].verdict == verdict,
            exceptions[last].offsets.upperBound == offset
        {
            exceptions[last].offsets = exceptions[last].offsets.lowerBound..<offset.advanced(by: 1)
        } else {
            exceptions.append(Exception(offsets: offset..<offset.advanced(by: 1), verdict: verdict))
        }
    }

    /// Whether the destination will never take some part.
    package var hasRejected: Bool {
        !retriesAll && exceptions.contains { $0.verdict != .retry }
    }

    /// Why the destination will never take a part; nil if it took it or may take it yet.
    package func rejection(of offset: Offset) -> SkipReason? {
        for exception in exceptions where exception.offsets.contains(offset) {
            if case .rejected(let reason) = exception.verdict { return reason }
        }
        return nil
    }

    /// The same, but what was rejected is to be sent again.
    ///
    /// - Parameter reason: Why, for people.
    package func retryingRejected(_ reason: String) -> DeliveryResult {
        var result = self
        for index in result.exceptions.indices { result.exceptions[index].verdict = .retry }
        result.reason = reason
        return result
    }

    /// The exceptions in the order of their offsets.
    var sorted: [Exception] {
        exceptions.sorted { $0.offsets.lowerBound < $1.offsets.lowerBound }
    }
}

/// What is left to do after a delivery, and what has been done.
package struct DeliveryOutcome: Sendable {
    /// What is to be sent again, skip markers for rejected records included; nil when nothing is.
    package var remainder: SinkBatch?
    /// How many records were accepted.
    package var accepted = 0
    /// How many records are to be sent again.
    package var retried = 0
    /// How many records were rejected, by reason.
    package var rejected: [SkipReason: Int] = [:]
    /// The offsets of accepted skip markers, by reason.
    package var skipped: [SkipReason: UInt64] = [:]
    /// Whether something has to be sent again because it failed.
    package var hasFailed = false
    /// Whether something was accepted or rejected.
    package var hasProgressed = false
}

extension SinkBatch {
    /// Works out what is left of the batch after a delivery.
    ///
    /// - Parameters:
    ///   - result: What the sink said.
    ///   - marksRejected: Whether rejected records leave skip markers to be sent.
    package func outcome(_ result: DeliveryResult, marksRejected: Bool) -> DeliveryOutcome {
        var outcome = DeliveryOutcome()
        if result.retriesAll {
            outcome.remainder = self
            outcome.retried = recordCount
            outcome.hasFailed = true
            return outcome
        }
        let exceptions = result.sorted
        var left: [SinkItem] = []
        var wantedLeft: [Range<Offset>] = []
        for item in items {
            guard case .records(let batch) = item else {
                let name = item.firstOffset
                let isRefused = exceptions.contains { $0.offsets.contains(name) }
                if isRefused {
                    // A marker is never given up: without it there would be a gap.
                    left.append(item)
                    outcome.hasFailed = true
                } else {
                    outcome.hasProgressed = true
                    if case .skip(let range, let reason, _) = item {
                        outcome.skipped[reason, default: 0] += UInt64(range.count)
                    }
                }
                continue
            }
            var keeps = false
            for part in wantedParts(of: batch) {
                var count = part.count
                for exception in exceptions {
                    let shared = exception.offsets.clamped(to: part)
                    guard !shared.isEmpty else { continue }
                    count -= shared.count
                    switch exception.verdict {
                    case .retry:
                        keeps = true
                        wantedLeft.append(shared)
                        outcome.retried += shared.count
                        outcome.hasFailed = true
                    case .rejected(let reason):
                        outcome.rejected[reason, default: 0] += shared.count
                        outcome.hasProgressed = true
                        if marksRejected {
                            left.append(.skip(shared, reason, appendTime: batch.appendTime))
                        }
                    }
                }
                outcome.accepted += count
            }
            if keeps { left.append(item) }
        }
        if outcome.accepted > 0 { outcome.hasProgressed = true }
        if !left.isEmpty {
            outcome.remainder = SinkBatch(log: log, items: left, wanted: wantedLeft)
        }
        return outcome
    }
}
