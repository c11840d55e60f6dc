internal import CLibrdkafka

/// Why a call to librdkafka failed, or what a broker or the library reported.
package struct KafkaError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The number of the code: librdkafka `rd_kafka_resp_err_t`, negative for its own.
    package var code: Int32
    /// The name of the code without its prefix, as `_TRANSPORT` or `MSG_SIZE_TOO_LARGE`.
    package var name: String
    /// The failing call, as `rd_kafka_produceva`; of reported events, `rd_kafka_queue_poll`.
    package var call: String
    /// What librdkafka says about it; never a secret of the configuration.
    package var message: String
    /// Whether the same call may succeed later.
    package var isRetriable: Bool
    /// Whether the handle is of no use any more: close it and make another.
    package var isFatal: Bool

    /// Describes an error.
    package init(
        code: Int32,
        name: String,
        call: String,
        message: String,
        isRetriable: Bool = false,
        isFatal: Bool = false
    ) {
        self.code = code
        self.name = name
        self.call = call
        self.message = message
        self.isRetriable = isRetriable
        self.isFatal = isFatal
    }

    /// Whether time ran out; what was asked for may have happened.
    package var isTimeout: Bool {
        [-185, -192, -166, 7].contains(code)
    }

    /// Whether a broker, or the limits of this client, refuse this one message for ever.
    ///
    /// Too large (alone or as a batch of one), invalid, with an impossible time, or against the
    /// topic's policy.
    package var isRejection: Bool {
        [10, 18, 32, 44, 87].contains(code)
    }

    /// Whether the producer's queue is full: poll, and produce again.
    package var isQueueFull: Bool { code == -184 }

    /// Whether the topic or partition is not there, as far as the client or a broker knows.
    package var isUnknownTopic: Bool { [-188, -190, 3].contains(code) }

    /// One line: message, name, code and call.
    package var description: String {
        "\(message) (\(name), \(code), \(call)\(isFatal ? ", fatal" : ""))"
    }

    /// Codes after which the same call may succeed: the network, brokers that come and go,
    /// elections and coordinators that move, time-outs, full queues, throttling. Those of Kafka as
    /// its protocol guide has them ("Retriable"), those of librdkafka by their meaning.
    private static let retriable: Set<Int32> = [
        // _TRANSPORT, _RESOLVE, _MSG_TIMED_OUT, _UNKNOWN_PARTITION, _UNKNOWN_TOPIC,
        -195, -193, -192, -190, -188,
        // _ALL_BROKERS_DOWN, _TIMED_OUT, _QUEUE_FULL, _ISR_INSUFF, _NODE_UPDATE, _WAIT_COORD,
        -187, -185, -184, -183, -182, -180,
        // _IN_PROGRESS, _PREV_IN_PROGRESS, _OUTDATED, _TIMED_OUT_QUEUE, _WAIT_CACHE, _INTR, _RETRY,
        -178, -177, -167, -166, -164, -163, -153,
        // _PURGE_QUEUE, _PURGE_INFLIGHT, _MAX_POLL_EXCEEDED, _UNKNOWN_BROKER, _ASSIGNMENT_LOST,
        -152, -151, -147, -146, -142,
        // Of Kafka, from CORRUPT_MESSAGE to THROTTLING_QUOTA_EXCEEDED.
        2, 3, 5, 6, 7, 8, 9, 13, 14, 15, 16, 19, 20, 27, 41, 56, 60, 70, 71, 72, 74, 75, 78, 79,
        80, 83, 88, 89,
    ]

    /// Describes a code as librdkafka does.
    init(_ code: rd_kafka_resp_err_t, call: String, message: String? = nil) {
        self.init(
            code: code.rawValue,
            name: unsafe String(cString: rd_kafka_err2name(code)),
            call: call,
            message: unsafe message ?? String(cString: rd_kafka_err2str(code)),
            isRetriable: Self.retriable.contains(code.rawValue),
            isFatal: code == RD_KAFKA_RESP_ERR__FATAL
        )
    }

    /// Describes an error object, and destroys it.
    init(consuming error: OpaquePointer, call: String) {
        let code = unsafe rd_kafka_error_code(error)
        self.init(
            code,
            call: call,
            message: unsafe String(cString: rd_kafka_error_string(error))
        )
        if unsafe rd_kafka_error_is_retriable(error) != 0 { isRetriable = true }
        if unsafe rd_kafka_error_is_fatal(error) != 0 {
            isFatal = true
            isRetriable = false
        }
        unsafe rd_kafka_error_destroy(error)
    }

    /// What a call on a closed handle gets.
    static func closed(_ call: String) -> KafkaError {
        KafkaError(RD_KAFKA_RESP_ERR__DESTROY, call: call, message: "the handle is closed")
    }

    /// A value that cannot be given to librdkafka.
    static func invalid(_ call: String, _ message: String) -> KafkaError {
        KafkaError(RD_KAFKA_RESP_ERR__INVALID_ARG, call: call, message: message)
    }
}

/// A line of librdkafka's own log.
package struct KafkaLogLine: Sendable, Equatable {
    /// The severity as syslog counts it: 0 an emergency, 7 for debugging.
    package var level: Int
    /// What part of the library speaks, as `FAIL`.
    package var facility: String
    /// The text.
    package var message: String
}

/// What a client reports besides messages and delivery reports.
package enum KafkaClientEvent: Sendable {
    /// Something went wrong; what is not fatal mends itself.
    case error(KafkaError)
    /// Statistics as JSON, for `KafkaStatistics`.
    case statistics(String)
    /// A line of the library's log.
    case log(KafkaLogLine)
}
