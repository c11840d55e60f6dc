import EventLog
package import Records
package import Rollups

/// Why a record went to the dead letters; raw values are stored in `sluice.dead_letter.reason`.
package enum DeadLetterReason: String, CaseIterable, Sendable {
    /// The bytes do not decode.
    case malformed
    /// A newer schema than this version knows; parked until an upgrade.
    case schemaNewer = "schema_newer"
    /// The record names another log or offset than the place where it lay.
    case identityMismatch = "identity_mismatch"
    /// It completed further in the future than clocks can differ.
    case future
    /// It has no usable completion time.
    case noTime = "no_time"
    /// A kind that this version does not know.
    case unknownKind = "unknown_kind"
    /// A line of an imported file that could not be read.
    case unparsed
    /// A message that does not say which record it is, or not the same everywhere.
    case unidentified
    /// A request of an organisation that its log may not bill.
    case wrongOrg = "wrong_org"
    /// An offset far above what is known of its log.
    case offsetAhead = "offset_ahead"
    /// One more piece of a log whose folded set is in too many pieces.
    case fragmented
    /// Larger than any record.
    case tooLarge = "too_large"
    /// A marker that cannot be read.
    case invalidMarker = "invalid_marker"
}

/// A record that cannot be folded.
package struct DeadLetter: Equatable, Sendable {
    /// Where it lay.
    package let log: LogID
    /// Where it lay.
    package let offset: UInt64
    /// Why it is here.
    package let reason: DeadLetterReason
    /// What exactly was wrong.
    package let detail: String?
    /// Its bytes.
    package let record: [UInt8]
    /// When it was appended to its log; nil if that is not known.
    package var appendedAt: Int64?
}

/// A row of the ledger.
struct LedgerKey: Hashable, Comparable, Sendable {
    let log: LogID
    /// The start of the hour of append time, µs since the epoch.
    let hour: Int64

    static let hourMicroseconds: Int64 = 3_600_000_000

    init(log: LogID, appendTime: Int64) {
        self.log = log
        var remainder = appendTime % Self.hourMicroseconds
        if remainder < 0 { remainder += Self.hourMicroseconds }
        // The subtraction can only leave the range within one hour of its end.
        hour = appendTime.subtractingReportingOverflow(remainder).partialValue
    }

    static func < (left: LedgerKey, right: LedgerKey) -> Bool {
        left.log == right.log ? left.hour < right.hour : left.log < right.log
    }
}

/// What became of the offsets of one log and hour.
struct LedgerCounts: Equatable, Sendable {
    var folded: Int64 = 0
    var deadLettered: Int64 = 0
    var expired: Int64 = 0
    var damaged: Int64 = 0
    var filtered: Int64 = 0
    var sampled: Int64 = 0
    var tooLarge: Int64 = 0
    var rejected: Int64 = 0

    /// Counts offsets without records.
    mutating func add(_ reason: SkipReason, _ count: Int64) {
        switch reason {
        case .filtered: filtered += count
        case .sampled: sampled += count
        case .damaged: damaged += count
        case .expired: expired += count
        case .tooLarge: tooLarge += count
        case .rejected: rejected += count
        }
    }
}

/// What is learnt of a log from its marker records.
struct LogRegistryEntry: Equatable, Sendable {
    var node: String?
    var region: String?
    var predecessor: LogID?
    var startedAt: Int64?
    var heartbeatAt: Int64?
    var nextOffset: Int64?
    var endOffset: Int64?
    var endedAt: Int64?
    /// The organisations that the log may bill; empty when its first record declared none.
    var orgs: [String]?
}

/// Everything that one fold transaction writes, made from a retained batch.
package struct FoldOutput: Sendable {
    /// The rollups' rows.
    var rollups: FoldBatch
    /// Records that could not be folded, in the order in which they were met.
    package private(set) var deadLetters: [DeadLetter] = []
    /// What became of the offsets.
    private(set) var ledger: [LedgerKey: LedgerCounts] = [:]
    /// What was learnt of the logs; every log of the batch is here.
    private(set) var registry: [LogID: LogRegistryEntry] = [:]
    /// Records that were counted in rollups or are markers.
    package private(set) var foldedCount = 0

    /// An empty output.
    ///
    /// - Parameters:
    ///   - definitions: The rollups that are folded into.
    ///   - horizons: Before when nothing is counted in each of them; none if empty.
    package init(_ definitions: [RollupDefinition], horizons: [Int64] = []) {
        rollups = FoldBatch(definitions, horizons: horizons)
    }

    /// Whether it is one for the rollups and horizons of a catalog.
    func fits(_ catalog: RollupCatalog) -> Bool {
        rollups.definitions == catalog.definitions
            && rollups.horizons == catalog.definitions.map(catalog.horizon)
    }

    /// Rows of all rollups.
    package var rowCount: Int {
        rollups.definitions.indices.reduce(0) { $0 + rollups.rowCount(of: $1) }
    }

    /// Forgets everything but the memory it was in.
    package mutating func removeAll() {
        rollups.removeAll()
        deadLetters.removeAll()
        ledger.removeAll(keepingCapacity: true)
        registry.removeAll(keepingCapacity: true)
        foldedCount = 0
    }

    /// Folds everything that a retained batch wants; the output must be empty.
    ///
    /// - Parameters:
    ///   - batch: What was read.
    ///   - latest: Completion after this goes to the dead letters.
    package mutating func fold(_ batch: RetainedBatch, latest: Int64) {
        for (log, slice) in batch.slices {
            for share in slice.shares {
                let wanted = share.offsets.intersection(slice.wanted)
                fold(share.item, of: log, wanted: wanted, latest: latest)
            }
        }
    }

    /// Folds those offsets of an item that are wanted.
    ///
    /// - Parameters:
    ///   - item: What was read.
    ///   - log: From which log.
    ///   - wanted: The offsets to be folded; others of the item are passed over.
    ///   - latest: Completion after this goes to the dead letters.
    package mutating func fold(
        _ item: RetainedBatch.Item,
        of log: LogID,
        wanted: OffsetRanges,
        latest: Int64
    ) {
        var trust = LogTrust.unlimited
        fold(item, of: log, wanted: wanted, latest: latest, &trust)
    }

    /// As above; records that the log is not trusted with are passed over and told.
    ///
    /// - Parameters:
    ///   - item: What was read.
    ///   - log: From which log.
    ///   - wanted: The offsets to be folded; others of the item are passed over.
    ///   - latest: Completion after this goes to the dead letters.
    ///   - trust: What the log may bill; learns from the log's first record, and gathers what was
    ///     refused, which was neither folded nor counted.
    mutating func fold(
        _ item: RetainedBatch.Item,
        of log: LogID,
        wanted: OffsetRanges,
        latest: Int64,
        _ trust: inout LogTrust
    ) {
        var entry = registry[log] ?? LogRegistryEntry()
        switch item {
        case .records(let batch):
            var counts = LedgerCounts()
            let all = batch.baseOffset.rawValue..<batch.nextOffset.rawValue
            let wantsAll = wanted.containsAll(all)
            let parkedBefore = deadLetters.count
            batch.forEach { offset, bytes in
                if wantsAll || wanted.contains(offset.rawValue) {
                    fold(bytes, at: offset, of: log, latest: latest, &counts, &entry, &trust)
                }
            }
            for index in parkedBefore..<deadLetters.count {
                deadLetters[index].appendedAt = batch.appendTime
            }
            add(counts, to: LedgerKey(log: log, appendTime: batch.appendTime))
        case .skip(let range, let reason, let appendTime):
            var counts = LedgerCounts()
            let missing = OffsetRanges.parts(of: range, without: wanted)
                .reduce(0) { $0 + $1.count }
            counts.add(reason, Int64(range.count - missing))
            add(counts, to: LedgerKey(log: log, appendTime: appendTime))
        case .end(let offset, let seenAt):
            entry.endOffset = Int64(clamping: offset)
            entry.endedAt = seenAt
        }
        registry[log] = entry
    }

    /// Folds a parked record again, and moves it in the ledger.
    ///
    /// - Parameters:
    ///   - letter: The record, whose offset is accounted for as dead-lettered.
    ///   - appendTime: The time that it is accounted under.
    ///   - latest: Completion after this stays parked.
    /// - Returns: The letter with its reason of today if it still cannot be folded.
    mutating func redrive(_ letter: DeadLetter, appendTime: Int64, latest: Int64) -> DeadLetter? {
        var counts = LedgerCounts()
        var entry = registry[letter.log] ?? LogRegistryEntry()
        var trust = LogTrust.unlimited
        let bytes = letter.record.span.raw
        fold(
            bytes,
            at: Offset(letter.offset),
            of: letter.log,
            latest: latest,
            &counts,
            &entry,
            &trust
        )
        if counts.deadLettered > 0 { return deadLetters.popLast() }
        counts.deadLettered = -1
        add(counts, to: LedgerKey(log: letter.log, appendTime: appendTime))
        // A log of which nothing was learnt is not said to have been folded from just now.
        if entry != LogRegistryEntry() { registry[letter.log] = entry }
        return nil
    }

    private mutating func add(_ more: LedgerCounts, to key: LedgerKey) {
        guard more != LedgerCounts() else { return }
        var counts = ledger[key] ?? LedgerCounts()
        counts.folded += more.folded
        counts.deadLettered += more.deadLettered
        counts.expired += more.expired
        counts.damaged += more.damaged
        counts.filtered += more.filtered
        counts.sampled += more.sampled
        counts.tooLarge += more.tooLarge
        counts.rejected += more.rejected
        ledger[key] = counts
    }

    /// Folds one record or parks it.
    private mutating func fold(
        _ bytes: RawSpan,
        at offset: Offset,
        of log: LogID,
        latest: Int64,
        _ counts: inout LedgerCounts,
        _ entry: inout LogRegistryEntry,
        _ trust: inout LogTrust
    ) {
        let view: RecordView
        do throws(RecordError) {
            view = try RecordView.decode(bytes)
        } catch {
            if case .unknownSchemaVersion = error {
                park(.schemaNewer, "\(error)", bytes, offset, log, &counts)
            } else {
                park(.malformed, "\(error)", bytes, offset, log, &counts)
            }
            return
        }
        guard let identity = view.identity(in: bytes), identity.log == log,
            identity.offset == offset
        else {
            park(.identityMismatch, nil, bytes, offset, log, &counts)
            return
        }
        if view.kind == .request || view.kind == .unparsed {
            let org = bytes.octets.extracting(view.org.range)
            guard trust.admits(org, at: offset) else { return }
            if let first = trust.takeFirstOrg() { entry.orgs = [first] }
        }
        switch view.kind {
        case .request:
            guard view.completedAt > 0 else {
                park(.noTime, "completed_at \(view.completedAt)", bytes, offset, log, &counts)
                return
            }
            guard view.completedAt <= latest else {
                park(.future, "completed_at \(view.completedAt)", bytes, offset, log, &counts)
                return
            }
            guard !rollups.isExpired(view) else {
                counts.expired += 1
                return
            }
            rollups.fold(view, bytes)
        case .heartbeat:
            entry.heartbeatAt = max(entry.heartbeatAt ?? Int64.min, Self.clamped(view.completedAt))
            if let next = view.nextOffset {
                entry.nextOffset = max(entry.nextOffset ?? 0, Int64(clamping: next))
            }
        case .logStart:
            entry.node = view.text(view.node, in: bytes)
            entry.region = view.text(view.region, in: bytes)
            entry.predecessor = LogID(
                bytes: bytes.octets.extracting(view.predecessorLogID.range)
            )
            entry.startedAt = Self.clamped(view.completedAt)
            if offset == .zero {
                let orgs = LogTrust.declaredOrgs(view, bytes)
                entry.orgs = orgs
                trust.declare(orgs)
            }
        case .sessionEnd, .logEnd:
            break
        case .unparsed:
            park(.unparsed, view.tag("reason", in: bytes), bytes, offset, log, &counts)
            return
        case .unspecified:
            park(.unknownKind, nil, bytes, offset, log, &counts)
            return
        }
        counts.folded += 1
        foldedCount += 1
    }

    private mutating func park(
        _ reason: DeadLetterReason,
        _ detail: String?,
        _ bytes: RawSpan,
        _ offset: Offset,
        _ log: LogID,
        _ counts: inout LedgerCounts
    ) {
        deadLetters.append(
            DeadLetter(
                log: log,
                offset: offset.rawValue,
                reason: reason,
                detail: detail,
                record: bytes.octets.copied()
            )
        )
        counts.deadLettered += 1
    }

    /// A time that PostgreSQL can store: from 1900 to 9999.
    private static func clamped(_ time: Int64) -> Int64 {
        min(max(time, -2_208_988_800_000_000), 253_402_300_799_000_000)
    }
}
