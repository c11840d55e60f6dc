/// A destination of records. The pump owns everything else: checkpoints, batching, retries.
///
/// Delivery is at least once: after a crash the pump sends again what was not acknowledged, with
/// the same identities. All calls may come from any task; `deliver` may be under way several times
/// at once unless `traits.ordersLogs` says otherwise for the batches of one log.
package protocol Sink: Sendable {
    /// What the pump has to know about it.
    var traits: SinkTraits { get }

    /// Prepares the destination; called again, after a wait, until it has succeeded once.
    func open() async throws(SinkError)

    /// Hands a batch over; returns when the fate of every part of it is known.
    ///
    /// What is accepted must be durable at the destination. On cancellation parts of the batch may
    /// have arrived.
    func deliver(_ batch: SinkBatch) async -> DeliveryResult

    /// Which records the destination has, if it can say so without being asked for each; a replay
    /// does not deliver these again. Called once, after `open`.
    func holdings() async throws(SinkError) -> SinkHoldings?

    /// Finishes what is due by time, such as a file that is old enough; called about every second.
    func flush() async throws(SinkError)

    /// Releases everything; deliveries under way return soon, with `retry`.
    func close() async
}

extension Sink {
    /// Most destinations cannot say.
    package func holdings() async throws(SinkError) -> SinkHoldings? { nil }
}

/// What the pump has to know about a sink.
package struct SinkTraits: Sendable {
    /// Whether every offset must arrive: skip markers and end markers are sent, nothing is
    /// filtered.
    package var isTransport: Bool
    /// Whether the offsets of one log must arrive in their order, one batch at a time.
    package var ordersLogs: Bool

    /// Describes a sink.
    package init(isTransport: Bool, ordersLogs: Bool) {
        self.isTransport = isTransport
        self.ordersLogs = ordersLogs
    }
}

/// Why a sink could not do something.
package struct SinkError: Error, Sendable, Equatable, CustomStringConvertible {
    /// A short name for programs, such as `_TRANSPORT` or `io`.
    package let code: String
    /// What was attempted and what came of it.
    package let message: String

    /// Describes a failure.
    package init(code: String, message: String) {
        self.code = code
        self.message = message
    }

    /// The message with its code.
    package var description: String { "\(message) (\(code))" }
}
