package import EventLog
import Synchronization

/// Where an aggregator's records come from.
package enum AggregatorSource: Sendable {
    /// The event logs of a data directory, read directly.
    case local(LogDirectory)
    /// A topic of a Kafka cluster, shared with the other aggregators of a consumer group.
    case kafka(KafkaSourceConfiguration)
    /// A topic, through a consumer made when the aggregator runs; for tests.
    case consumer(
        topic: String,
        _ make: @Sendable () throws(TransportError) -> sending any TransportConsumer
    )
}

/// Why a transport ended by itself.
final class TransportFailure: Sendable {
    private let first = Mutex<TransportError?>(nil)

    /// The reason; nil while there is none.
    var error: TransportError? { first.withLock { $0 } }

    /// Remembers the first reason.
    func set(_ error: TransportError) {
        first.withLock { if $0 == nil { $0 = error } }
    }
}
