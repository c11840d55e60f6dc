package import Records

/// Where records come from, as the fold loop sees it. Every call blocks.
///
/// Owner: a `ThreadOwned`, with the fold loop. The loop collects one batch while the one before is
/// being written, and tells the transport what became of it.
protocol FoldTransport: AnyObject, SendableMetatype {
    /// Monotonic nanoseconds.
    var now: UInt64 { get }

    /// Looks after everything that is due between two batches: what there is to read, metrics,
    /// progress kept outside the database.
    func housekeep()

    /// What the database has to be asked before more can be collected.
    var examination: Examination { get }

    /// When the database has to be asked again at the latest.
    var nextExamination: UInt64 { get }

    /// Takes over the answer.
    ///
    /// - Parameters:
    ///   - state: What the database says.
    ///   - examination: What it was asked.
    func adopt(_ state: FoldedState, _ examination: Examination)

    /// Waits for something to fold and collects it, until the batch is full or old enough.
    ///
    /// - Parameters:
    ///   - job: Where it goes; empty at the start.
    ///   - giveUpAt: Monotonic nanoseconds when to return with an empty batch.
    ///   - isWriterIdle: Asked when the batch is old enough: while the writer is busy, collecting
    ///     on makes the next transaction larger instead of waiting.
    func collect(into job: inout FoldJob, giveUpAt: UInt64, isWriterIdle: () -> Bool)

    /// Does what cannot wait while the writer is busy; returns at once, or when it is idle.
    func attend(until isWriterIdle: () -> Bool)

    /// Takes over what became of a batch.
    ///
    /// - Returns: The logs whose offsets must be dropped from a batch collected meanwhile.
    func apply(_ result: FoldResult) -> [LogID]

    /// Forgets everything that is believed of the database, and what was collected but not
    /// committed: it is read again.
    func distrust()

    /// Ends; nothing is called afterwards.
    func close()
}

/// What a transport asks the database.
struct Examination: Sendable {
    /// Of which logs it wants to know what is folded.
    var logs: [LogID] = []
    /// Of which partitions it wants to know the stored position.
    var partitions: [Int32] = []
    /// Whose partitions they are.
    var clusterID = ""
    /// Whose partitions they are.
    var topic = ""

    /// Whether there is nothing to ask.
    var isEmpty: Bool { logs.isEmpty && partitions.isEmpty }
}

/// Which record a message carried.
package struct MessageIdentity: Hashable, Sendable {
    /// The record's log.
    package let log: LogID
    /// The record's offset in its log.
    package let offset: UInt64

    /// Names a record.
    package init(log: LogID, offset: UInt64) {
        self.log = log
        self.offset = offset
    }
}

/// A message that was taken: found again in its place, the partition up to it is the one that was
/// read.
struct Landmark: Equatable, Sendable {
    /// Its offset in the partition.
    var place: Int64
    /// Which record it carried; nil when it carried none, or none is stored.
    var identity: MessageIdentity?
    /// With which delivery it came, 0 when it does not say; nil when none is stored.
    var delivery: UInt64?

    /// A landmark as stored.
    init(place: Int64, identity: MessageIdentity? = nil, delivery: UInt64? = nil) {
        self.place = place
        self.identity = identity
        self.delivery = delivery
    }

    /// A message; of an offset that PostgreSQL cannot store, whoever claims it, nothing is kept.
    init(_ message: ConsumedMessage) {
        let identity = message.headers.identity
        place = message.offset
        self.identity = (identity?.offset ?? 0) < 1 << 63 ? identity : nil
        delivery = message.headers.delivery ?? 0
    }

    /// Whether a message is the one.
    func isFound(in message: ConsumedMessage) -> Bool {
        guard message.offset == place else { return false }
        if let identity, message.headers.identity != identity { return false }
        if let delivery, message.headers.delivery ?? 0 != delivery { return false }
        return true
    }
}

/// Where reading a partition goes on, as stored in the database.
struct StoredPosition: Equatable, Sendable {
    /// The offset that means the first one there is (librdkafka `RD_KAFKA_OFFSET_BEGINNING`).
    static let beginning: Int64 = -2

    /// The offset, in the partition, of the next message.
    var nextOffset: Int64
    /// The message before it.
    var last: Landmark
    /// A message that lay further back when it was last looked at; nil when none is stored.
    var anchor: Landmark?

    /// What is to be seen again before reading goes on, in order: that the partition was the same
    /// all the time until the last message was taken, and that it is the same since.
    var landmarks: [Landmark] {
        guard let anchor, anchor.place < last.place else { return [last] }
        return [anchor, last]
    }
}

/// How far a batch moves the position of a partition; none for the local transport.
struct TransportOffset: Equatable, Sendable {
    let clusterID: String
    let topic: String
    let partition: Int32
    /// The position before the batch: the stored one moves only from here to `nextOffset`, so that
    /// a transaction that comes late moves it neither back nor over what it did not read.
    var baseOffset: Int64
    /// The position after the batch.
    var nextOffset: Int64
    /// Whether the stored position is to be replaced, whatever it is: the partition was rewound.
    var replaces: Bool
    /// The last message.
    var last: Landmark?
    /// A message that lay in its place when it was last looked at, and everything was taken since.
    var anchor: Landmark?
}
