package import EventLog
package import Records

/// A part of a batch for a sink.
package enum SinkItem: Sendable {
    /// Records with consecutive offsets.
    case records(LogBatch)
    /// Offsets without records, and the append time that they go by, µs since the epoch.
    case skip(Range<Offset>, SkipReason, appendTime: Int64)
    /// The log's end, and the append time of its last batch, µs since the epoch.
    case end(Offset, appendTime: Int64)

    /// Its first offset; that names a marker in a `DeliveryResult`.
    package var firstOffset: Offset {
        switch self {
        case .records(let batch): batch.baseOffset
        case .skip(let range, _, _): range.lowerBound
        case .end(let offset, _): offset
        }
    }
}

/// What one call of a sink gets: parts of one log.
///
/// Each record is named by its offset, a skip marker by its first offset, an end marker by the end
/// offset; so every name occurs once in a batch.
package struct SinkBatch: Sendable {
    /// The log.
    package let log: LogID
    /// The parts, mostly in the order of their offsets.
    package let items: [SinkItem]
    /// Which of the records are to be sent, ascending; nil means all of them.
    package let wanted: [Range<Offset>]?

    /// Puts a batch together.
    package init(log: LogID, items: [SinkItem], wanted: [Range<Offset>]? = nil) {
        self.log = log
        self.items = items
        self.wanted = wanted
    }

    /// Calls a closure with each wanted record of one of the batch's items; nothing is copied.
    ///
    /// - Parameters:
    ///   - batch: One of the items.
    ///   - body: Takes the record's offset and its bytes, which it must not keep.
    package func forEachRecord<E: Error>(
        in batch: LogBatch,
        _ body: (Offset, RawSpan) throws(E) -> Void
    ) throws(E) {
        guard let wanted else { return try batch.forEach(body) }
        var index = wanted.firstIndex { $0.upperBound > batch.baseOffset } ?? wanted.count
        guard index < wanted.count, wanted[index].lowerBound < batch.nextOffset else { return }
        try batch.forEach { (offset, bytes) throws(E) in
            while index < wanted.count, wanted[index].upperBound <= offset { index += 1 }
            guard index < wanted.count, wanted[index].contains(offset) else { return }
            try body(offset, bytes)
        }
    }

    /// How many records are to be sent.
    package var recordCount: Int {
        var count = 0
        for case .records(let batch) in items {
            for range in wantedParts(of: batch) { count += range.count }
        }
        return count
    }

    /// The bytes that the batch keeps alive, about.
    package var byteCount: Int {
        items.reduce(0) { sum, item in
            if case .records(let batch) = item { sum + batch.byteCount } else { sum + 64 }
        }
    }

    /// The smallest name in the batch; nil when nothing is left in it.
    package var firstOffset: Offset? {
        var first: Offset?
        for item in items {
            let offset: Offset?
            if case .records(let batch) = item {
                offset = wantedParts(of: batch).first?.lowerBound
            } else {
                offset = item.firstOffset
            }
            if let offset, first.map({ offset < $0 }) ?? true { first = offset }
        }
        return first
    }

    /// The append time of the first item.
    package var appendTime: Int64 {
        switch items.first {
        case .records(let batch): batch.appendTime
        case .skip(_, _, let time), .end(_, let time): time
        case nil: 0
        }
    }

    /// The ranges of a part's records that are to be sent.
    func wantedParts(of batch: LogBatch) -> [Range<Offset>] {
        let all = batch.baseOffset..<batch.nextOffset
        guard let wanted else { return all.isEmpty ? [] : [all] }
        return wanted.map { $0.clamped(to: all) }.filter { !$0.isEmpty }
    }
}

extension Range<Offset> {
    /// How many offsets there are.
    package var count: Int { Int(clamping: upperBound.rawValue - lowerBound.rawValue) }
}
