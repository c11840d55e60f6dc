package import EventLog
package import Records

/// What the Kafka transport needs of a member of a consumer group: a seam, so that its logic is
/// tested with a scripted one.
///
/// Owner: one thread. Every call returns soon, except `poll`, within its timeout, and `close`.
package protocol TransportConsumer: AnyObject {
    /// Lets `poll` return early; callable from any thread.
    var waker: @Sendable () -> Void { get }

    /// Waits for messages and events, and hands over what is there in the order in which it came.
    ///
    /// - Parameters:
    ///   - timeout: The longest wait.
    ///   - countMax: Most messages.
    ///   - take: Gets each message, its key and its value, which it must not keep.
    ///   - handle: Gets each event.
    func poll(
        timeout: Duration,
        countMax: Int,
        take: (ConsumedMessage, _ key: Span<UInt8>, _ value: Span<UInt8>) -> Void,
        handle: (ConsumerEvent) -> Void
    )

    /// Answers `assigned`, or adds partitions: each begins at an offset, or at
    /// `StoredPosition.beginning`.
    func assign(_ partitions: [Int32: Int64]) throws(TransportError)

    /// Answers `revoked` and `lost`.
    func unassign(_ partitions: [Int32]) throws(TransportError)

    /// Goes on elsewhere in assigned partitions; messages fetched before are dropped. Refused while
    /// `assigned` waits for its answer.
    func move(_ partitions: [Int32: Int64]) throws(TransportError)

    /// Fetches nothing more from any assigned partition, until `resume` or until it is given up;
    /// what was fetched is dropped, and comes again.
    func pause()

    /// Fetches again.
    func resume()

    /// The first offset, and the one after the last, of a partition, as last heard; nil when
    /// nothing was heard yet.
    func watermarks(_ partition: Int32) -> (low: Int64, high: Int64)?

    /// Asks a broker where a partition begins and ends; waits a second at most, nil when none
    /// answered.
    func askWatermarks(_ partition: Int32) -> (low: Int64, high: Int64)?

    /// The broker cluster's id; nil when no broker has been reached yet.
    func clusterID() -> String?

    /// Tells the group how far partitions are, for monitoring only.
    func commit(_ positions: [Int32: Int64])

    /// Leaves the group.
    func close()
}

/// An error of the consumer, with the names of librdkafka.
package struct TransportError: Error, Equatable, CustomStringConvertible {
    /// The name of the code, such as `_TRANSPORT`.
    package let name: String
    /// The failing call.
    package let call: String
    /// What was said.
    package let message: String
    /// Whether the consumer is of no use any more.
    package let isFatal: Bool

    /// Makes an error.
    package init(name: String, call: String, message: String, isFatal: Bool = false) {
        self.name = name
        self.call = call
        self.message = message
        self.isFatal = isFatal
    }

    /// Everything on one line.
    package var description: String { "\(call): \(name): \(message)" }
}

/// What happens to a consumer besides messages.
package enum ConsumerEvent: Sendable {
    /// The group gave it partitions; it must answer with `assign`.
    case assigned([Int32])
    /// The group wants partitions back; it must answer with `unassign`.
    case revoked([Int32])
    /// Partitions belong to somebody else already; it must answer with `unassign`.
    case lost([Int32])
    /// A partition is not there, for now or any more; its topic may be made again.
    case gone(Int32)
    /// Something went wrong; most of it mends itself.
    case failed(TransportError)
}

/// What comes with a message besides key and value.
package struct ConsumedMessage: Sendable {
    /// Where it lay.
    package var partition: Int32
    /// Where it lay.
    package var offset: Int64
    /// Its time in milliseconds since the epoch; not positive when it has none.
    package var timestamp: Int64
    /// Whether it has a value at all.
    package var hasValue: Bool
    /// What its headers say.
    package var headers: MessageHeaders

    /// Describes a message.
    package init(
        partition: Int32,
        offset: Int64,
        timestamp: Int64,
        hasValue: Bool,
        headers: MessageHeaders
    ) {
        self.partition = partition
        self.offset = offset
        self.timestamp = timestamp
        self.hasValue = hasValue
        self.headers = headers
    }
}

/// The headers of a message, read (`docs/formats/kafka.md`).
package struct MessageHeaders: Equatable, Sendable {
    /// What a message without a value stands for.
    package enum Marker: Equatable, Sendable {
        /// Offsets without records.
        case skip
        /// The log's end.
        case end
        /// Something that this version does not know.
        case unknown
    }

    /// Header `sluice-log`.
    package var log: LogID?
    /// Header `sluice-offset`.
    package var offset: UInt64?
    /// Header `sluice-marker`.
    package var marker: Marker?
    /// Header `sluice-until`.
    package var until: UInt64?
    /// Header `sluice-reason`.
    package var reason: SkipReason?
    /// Header `sluice-delivery`.
    package var delivery: UInt64?

    /// No headers.
    package init() {}

    /// The record that the headers name; nil unless they name one.
    package var identity: MessageIdentity? {
        guard let log, let offset else { return nil }
        return MessageIdentity(log: log, offset: offset)
    }

    /// Takes one header; unknown ones are passed over.
    package mutating func put(_ name: MessageHeader, _ value: Span<UInt8>) {
        switch name {
        case .log: log = LogID(text: value)
        case .offset: offset = Self.number(value)
        case .until: until = Self.number(value)
        case .marker:
            let text = value.text()
            marker = text == "skip" ? .skip : text == "end" ? .end : .unknown
        case .reason: reason = SkipReason(rawValue: value.text())
        // As PostgreSQL can store it.
        case .delivery: delivery = Self.number(value).flatMap { $0 < 1 << 63 ? $0 : nil }
        }
    }

    /// A number in decimal; nil for anything else, and for what does not fit into 64 bits.
    private static func number(_ text: Span<UInt8>) -> UInt64? {
        guard !text.isEmpty, text.count <= 20 else { return nil }
        var number: UInt64 = 0
        for index in text.indices {
            let digit = text[index] &- UInt8(ascii: "0")
            guard digit <= 9 else { return nil }
            let (scaled, overflow) = number.multipliedReportingOverflow(by: 10)
            let (sum, carry) = scaled.addingReportingOverflow(UInt64(digit))
            guard !overflow, !carry else { return nil }
            number = sum
        }
        return number
    }
}

/// The headers that the transport reads.
package enum MessageHeader: String, CaseIterable, Sendable {
    /// The log id, as text.
    case log = "sluice-log"
    /// The offset in the log; of a skip marker the first one, of an end marker the log's end.
    case offset = "sluice-offset"
    /// What a message without a value stands for.
    case marker = "sluice-marker"
    /// The offset after the last one of a skip marker.
    case until = "sluice-until"
    /// Why a skip marker's offsets have no record.
    case reason = "sluice-reason"
    /// A number that was drawn for the messages which the pump handed over together.
    case delivery = "sluice-delivery"
}
