/// Appends protobuf fields to a growable array that is kept warm between batches.
///
/// The hot path of the gateway: no allocation once the array has grown, no Foundation. Fields may
/// come in any order; a field that is not put is absent.
package struct RecordEncoder: Sendable {
    /// What has been encoded so far.
    package var bytes: [UInt8]

    /// Makes an encoder with room for so many bytes.
    package init(capacity: Int = 0) {
        bytes = []
        bytes.reserveCapacity(capacity)
    }

    /// Forgets what was encoded and keeps the capacity.
    package mutating func removeAll() {
        bytes.removeAll(keepingCapacity: true)
    }

    /// Puts a number, or an enum, as a varint.
    package mutating func put(_ field: RecordField, _ value: UInt64) {
        bytes.append(addingCapacity: 15) { output in
            output.appendVarint(UInt64(field.rawValue) << 3)
            output.appendVarint(value)
        }
    }

    /// Puts a signed number as protobuf's `int64`: negative ones take ten bytes.
    package mutating func put(_ field: RecordField, signed value: Int64) {
        put(field, UInt64(bitPattern: value))
    }

    /// Puts bytes, or text that already is bytes.
    package mutating func put(_ field: RecordField, _ value: Span<UInt8>) {
        bytes.append(addingCapacity: 15 + value.count) { output in
            output.appendVarint(UInt64(field.rawValue) << 3 | 2)
            output.appendVarint(UInt64(value.count))
            for index in value.indices { output.append(value[index]) }
        }
    }

    /// Puts bytes.
    package mutating func put(_ field: RecordField, _ value: [UInt8]) {
        put(field, value.span)
    }

    /// Puts text.
    package mutating func put(_ field: RecordField, _ value: String) {
        put(field, value.utf8.span)
    }

    /// Puts a log id.
    package mutating func put(_ field: RecordField, _ value: LogID) {
        let wire = value.bytes
        put(field, wire.span)
    }

    /// Puts one tag; an empty key or value is left out, as protobuf does.
    package mutating func putTag(key: Span<UInt8>, value: Span<UInt8>) {
        let count = Self.delimitedSize(key.count) + Self.delimitedSize(value.count)
        bytes.append(addingCapacity: 15 + count) { output in
            output.appendVarint(UInt64(RecordField.tags.rawValue) << 3 | 2)
            output.appendVarint(UInt64(count))
            output.appendDelimited(1, key)
            output.appendDelimited(2, value)
        }
    }

    /// Puts one tag.
    package mutating func putTag(key: String, value: String) {
        putTag(key: key.utf8.span, value: value.utf8.span)
    }

    /// Puts a captured request or response.
    package mutating func putCapture(
        _ field: RecordField,
        _ data: Span<UInt8>,
        originalLength: UInt64
    ) {
        let lengthSize = originalLength == 0 ? 0 : 1 + Self.varintSize(originalLength)
        let count = Self.delimitedSize(data.count) + lengthSize
        bytes.append(addingCapacity: 15 + count) { output in
            output.appendVarint(UInt64(field.rawValue) << 3 | 2)
            output.appendVarint(UInt64(count))
            output.appendDelimited(1, data)
            if originalLength != 0 {
                output.append(2 << 3)
                output.appendVarint(originalLength)
            }
        }
    }

    /// Puts fields that are encoded already, such as a record's unknown fields.
    package mutating func put(encoded fields: Span<UInt8>) {
        bytes.append(addingCapacity: fields.count) { output in
            for index in fields.indices { output.append(fields[index]) }
        }
    }

    /// The bytes that a varint takes.
    package static func varintSize(_ value: UInt64) -> Int {
        (64 - (value | 1).leadingZeroBitCount + 6) / 7
    }

    /// The bytes of a field with a one-byte tag and so many bytes of content; 0 without content.
    private static func delimitedSize(_ count: Int) -> Int {
        count == 0 ? 0 : 1 + varintSize(UInt64(count)) + count
    }
}

extension OutputSpan<UInt8> {
    /// Appends a varint; the caller has made room for ten bytes.
    @inlinable
    @inline(__always)
    @_lifetime(self: copy self)
    package mutating func appendVarint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        append(UInt8(truncatingIfNeeded: rest))
    }

    /// Appends a field with a one-byte tag, unless it is empty; the caller has made room.
    @_lifetime(self: copy self)
    fileprivate mutating func appendDelimited(_ field: UInt8, _ content: Span<UInt8>) {
        guard !content.isEmpty else { return }
        append(field << 3 | 2)
        appendVarint(UInt64(content.count))
        for index in content.indices { append(content[index]) }
    }
}
