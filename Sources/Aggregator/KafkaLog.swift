import EventLog
import Records

/// What the Kafka transport knows of one log, and the records of it that are being gathered.
///
/// Owner: the transport.
final class KafkaLog {
    let id: LogID
    /// What is folded, as last heard, and what is in batches that are not committed yet.
    var seen: OffsetRanges
    /// Which organisations it may bill.
    var trust: LogTrust
    /// The end that the database knows or a batch has; of a copy it is lower.
    var endTaken: UInt64?
    /// The known end above which offsets were missing when the database was last asked about that.
    var gapAsked: UInt64?
    /// The known end above which offsets were missing when a partition was rewound for it.
    var gapSought: UInt64?
    /// Whether the transport has it among those with records that are gathered.
    var isOpen = false

    /// Consecutive records that came through one partition, each behind its length.
    private var records: [UInt8] = []
    /// Where in the partition each of them lay.
    private(set) var places: [Int64] = []
    /// The offset of the first of them.
    private(set) var base: UInt64 = 0
    /// The partition that they came through.
    private(set) var partition: Int32 = 0
    /// When the first of them was appended, µs since the epoch.
    private(set) var appendTime: Int64 = 0
    /// The hour of append time that all of them belong to.
    private var hour: Int64 = 0

    init(id: LogID, seen: OffsetRanges, trust: LogTrust, endTaken: UInt64?) {
        self.id = id
        self.seen = seen
        self.trust = trust
        self.endTaken = endTaken
    }

    /// Whether no records are being gathered.
    var isIdle: Bool { places.isEmpty }

    /// The offset after the last record gathered.
    var next: UInt64 { base + UInt64(places.count) }

    /// The known end: what is far above it is not trusted.
    var knownEnd: UInt64 {
        max(seen.ranges.last?.upperBound ?? 0, isIdle ? 0 : next)
    }

    /// Most records gathered before they are folded; chosen.
    private static let recordsMax = 4_096
    /// Most bytes gathered before they are folded; chosen: they stay in the cache.
    private static let bytesMax = 128 << 10

    /// Whether a record continues those that are being gathered.
    @inline(__always)
    func continues(_ offset: UInt64, _ partition: Int32, hour: Int64) -> Bool {
        !places.isEmpty && offset == next && partition == self.partition && hour == self.hour
            && places.count < Self.recordsMax && records.count < Self.bytesMax
    }

    /// Begins to gather at an offset; nothing may be gathered.
    func begin(_ offset: UInt64, _ partition: Int32, appendTime: Int64, hour: Int64) {
        base = offset
        self.partition = partition
        self.appendTime = appendTime
        self.hour = hour
    }

    /// Gathers a record.
    @inline(__always)
    func append(_ record: Span<UInt8>, place: Int64) {
        places.append(place)
        let length = UInt32(truncatingIfNeeded: record.count)
        records.append(addingCapacity: 4 + record.count) { output in
            for shift: UInt32 in [0, 8, 16, 24] {
                output.append(UInt8(truncatingIfNeeded: length >> shift))
            }
            for index in record.indices { output.append(record[index]) }
        }
    }

    /// Gives away what was gathered, with its places.
    func takeBatch() -> (batch: LogBatch, places: [Int64]) {
        let batch = LogBatch(
            logID: id,
            baseOffset: Offset(base),
            count: places.count,
            appendTime: appendTime,
            records: records
        )
        let places = self.places
        records = []
        self.places = []
        return (batch, places)
    }
}

/// A partition that the group has given to this aggregator.
///
/// Owner: the transport.
final class AssignedPartition {
    /// What is to be done with its messages. Permitted transitions:
    enum State: Equatable {
        /// Nothing: the database is asked where it begins. → `verifying`, `following`.
        case assigning
        /// Nothing: the database is asked where it goes on. → `verifying`, `following`.
        case repositioning
        /// The first one must be one that was taken before: else the topic is not the one of which
        /// the database speaks. → `following`, `returning`, `rewinding`, `repositioning`.
        case verifying(Landmark)
        /// Nothing until it is read from its beginning. → `following`, `repositioning`.
        case rewinding
        /// Nothing until it is read from its position again, or from another message that must be
        /// seen before. → `following`, `verifying`, `repositioning`.
        case returning
        /// They are folded. → `verifying`, `rewinding`, `returning`, `repositioning`.
        case following
    }

    let number: Int32
    var state = State.assigning
    /// Counts moves, so that a message stashed before one is not taken after it.
    var epoch: UInt32 = 0
    /// The position: every message below has been taken; nil before the first one.
    var next: Int64?
    /// The position before the batch being collected; nil when nothing in it is from here.
    var base: Int64?
    /// Whether the stored position is to be replaced, whatever it is.
    var replaces = false
    /// When its last message came, or when it was last moved.
    var quietSince: UInt64 = 0
    /// Whether it was not there when it was last heard of.
    var isGone = false
    /// The last message taken when it was last known to be the one that the database speaks of, or
    /// the first one taken of it: looked at again now and then.
    var anchor: Landmark?
    /// What is to be seen again after the message that is being looked for.
    var unverified: Landmark?
    /// When that was, or was found out to be the case.
    var anchoredAt: UInt64 = 0
    /// The position at which offsets were missing when it was last asked for them again.
    var gapSought: Int64?
    /// Before this it is not read again from its beginning because of missing offsets.
    var rewindableAt: UInt64 = 0
    /// Below this it has been read again from its beginning because of missing offsets.
    var soughtBelow: Int64 = 0
    /// The last message taken.
    var last: Landmark?

    init(_ number: Int32) { self.number = number }

    /// Stops taking messages until the database has been asked.
    func reposition() {
        if state != .assigning { state = .repositioning }
        epoch &+= 1  // only compared
        base = nil
    }

    /// Whether the database has to be asked where it goes on.
    var isWaiting: Bool { state == .assigning || state == .repositioning }

    /// Goes on where the database says, after a look at messages before; nil: at the beginning.
    func begin(at stored: StoredPosition?, now: UInt64) {
        let landmarks = stored?.landmarks ?? []
        next = stored?.nextOffset
        last = stored?.last
        base = nil
        replaces = false
        soughtBelow = 0
        // Where it was read from its beginning before, it may not have come to what is stored.
        rewindableAt = 0
        anchor = landmarks.first
        anchoredAt = now
        verify(landmarks.first, now: now)
        unverified = landmarks.count > 1 ? landmarks.last : nil
    }

    /// Takes nothing before a message has been seen again.
    func verify(_ landmark: Landmark?, now: UInt64) {
        epoch &+= 1  // only compared
        quietSince = now
        unverified = nil
        state = landmark.map { .verifying($0) } ?? .following
    }

    /// Takes over that the message which was looked for is in its place.
    func noteVerified(_ landmark: Landmark, now: UInt64) {
        // After a look further back it goes on where it was.
        let isThere = unverified == nil && next == landmark.place &+ 1
        state = isThere ? .following : .returning
        guard unverified == nil else { return }
        anchoredAt = now
        anchor = last ?? anchor
    }
}
