internal import CLibrdkafka

/// What a consumer hands over, in the order of its queue.
package enum KafkaEvent: ~Copyable, ~Escapable {
    /// A message, valid only inside the closure that it is lent to.
    case message(KafkaMessage)
    /// The group gave partitions to this member, which must answer with `assign`.
    case assigned([KafkaPartition])
    /// The group wants partitions back; the member must answer with `unassign`.
    case revoked([KafkaPartition])
    /// Partitions belong to somebody else already; the member must answer with `unassign`.
    case lost([KafkaPartition])
    /// Everything up to this offset has been handed over, and there was no more.
    case endOfPartition(KafkaPartition, offset: Int64)
    /// Something went wrong, with a partition if one is named; what is not fatal mends itself.
    case error(KafkaError, KafkaPartition?)
    /// Statistics as JSON, for `KafkaStatistics`.
    case statistics(String)
    /// A line of the library's log.
    case log(KafkaLogLine)
}

/// A view of a message in librdkafka's memory; nothing is copied or allocated for it here.
@safe
package struct KafkaMessage: ~Copyable, ~Escapable {
    private let message: UnsafeMutablePointer<rd_kafka_message_t>

    /// Views a message of an event; the view must not outlive the event.
    @_lifetime(immortal)
    init(_ message: UnsafeMutablePointer<rd_kafka_message_t>) {
        unsafe self.message = unsafe message
    }

    /// The topic's name; an allocation when it is longer than 15 bytes.
    package var topic: String {
        unsafe String(cString: rd_kafka_topic_name(message.pointee.rkt))
    }

    /// The partition's number.
    package var partition: Int32 { unsafe message.pointee.partition }

    /// The offset in the partition.
    package var offset: Int64 { unsafe message.pointee.offset }

    /// Milliseconds since the epoch; −1 when the message has no time.
    package var timestamp: Int64 { unsafe rd_kafka_message_timestamp(message, nil) }

    /// The key; nil is none.
    package var key: Span<UInt8>? {
        @_lifetime(borrow self)
        get {
            let span = unsafe Self.span(message.pointee.key, message.pointee.key_len)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// The value; nil is none.
    package var value: Span<UInt8>? {
        @_lifetime(borrow self)
        get {
            let span = unsafe Self.span(message.pointee.payload, message.pointee.len)
            return unsafe _overrideLifetime(span, borrowing: self)
        }
    }

    /// The value of the last header of that name; nil when there is none, or one without value.
    ///
    /// The first call on a message reads its headers into librdkafka's memory.
    @_lifetime(borrow self)
    package borrowing func header(_ name: StaticString) -> Span<UInt8>? {
        var headers: OpaquePointer?
        var value: UnsafeRawPointer?
        var count = 0
        guard
            unsafe rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR,
            unsafe rd_kafka_header_get_last(
                headers,
                UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self),
                &value,
                &count
            ) == RD_KAFKA_RESP_ERR_NO_ERROR
        else { return nil }
        return unsafe _overrideLifetime(Self.span(value, count), borrowing: self)
    }

    /// Lends each header in order; a header without value is lent as no bytes.
    package borrowing func forEachHeader(_ body: (_ name: String, Span<UInt8>) -> Void) {
        var headers: OpaquePointer?
        guard unsafe rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR
        else { return }
        var index = 0
        var name: UnsafePointer<CChar>?
        var value: UnsafeRawPointer?
        var count = 0
        while unsafe rd_kafka_header_get_all(headers, index, &name, &value, &count)
            == RD_KAFKA_RESP_ERR_NO_ERROR
        {
            index += 1
            guard let name = unsafe name else { continue }
            let bytes = unsafe Span<UInt8>(
                _unsafeElements: UnsafeRawBufferPointer(
                    start: value,
                    count: value == nil ? 0 : count
                )
                .assumingMemoryBound(to: UInt8.self)
            )
            body(unsafe String(cString: name), bytes)
        }
    }

    /// Views bytes of C; nil for NULL.
    @inline(always)
    @_lifetime(immortal)
    private static func span(_ start: UnsafeRawPointer?, _ count: Int) -> Span<UInt8>? {
        guard let start = unsafe start else { return nil }
        let bytes = unsafe UnsafeRawBufferPointer(start: start, count: count)
        let span = unsafe Span<UInt8>(_unsafeElements: bytes.assumingMemoryBound(to: UInt8.self))
        return unsafe _overrideLifetime(span, copying: ())
    }
}
