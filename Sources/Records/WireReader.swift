/// Reads protobuf's wire format from a span: bounds and overflow checked, nothing allocated.
package struct WireReader: ~Escapable {
    /// The depth to which unknown groups may nest; chosen to equal protobuf's default.
    package static var groupDepthMax: Int { 100 }

    /// The bytes being read.
    package let bytes: Span<UInt8>
    /// The byte position of the next read; never beyond `bytes.count`.
    @usableFromInline package internal(set) var position: Int

    /// Starts at the first byte.
    @inlinable
    @inline(__always)
    @_lifetime(copy bytes)
    package init(_ bytes: Span<UInt8>) {
        self.bytes = bytes
        position = 0
    }

    /// Whether everything has been read.
    @inlinable
    @inline(__always)
    package var isAtEnd: Bool { position >= bytes.count }

    /// Reads one varint of up to 64 bits; surplus bits of a tenth byte are dropped as by protobuf.
    @inlinable
    @inline(__always)
    @_lifetime(self: copy self)
    package mutating func varint() throws(RecordError) -> UInt64 {
        let start = position
        guard start < bytes.count else { throw .truncated(position: start) }
        let first = bytes[start]
        if first < 0x80 {
            position = start &+ 1  // start < count
            return UInt64(first)
        }
        let (value, next) = try Self.longVarint(bytes, start)
        position = next
        return value
    }

    /// Reads as many varints as there is room for.
    @_lifetime(self: copy self)
    package mutating func varints(into numbers: inout MutableSpan<UInt64>) throws(RecordError) {
        for index in numbers.indices { numbers[index] = try varint() }
    }

    /// Reads a varint of two bytes or more, and where it ends; takes no reader, so that readers
    /// may live in registers.
    @usableFromInline
    static func longVarint(
        _ bytes: Span<UInt8>,
        _ start: Int
    ) throws(RecordError) -> (UInt64, Int) {
        var index = start
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while index < bytes.count {
            guard shift <= 63 else { throw .varintOverflow(position: start) }
            let byte = bytes[index]
            index &+= 1  // index < count
            value |= UInt64(byte & 0x7F) &<< shift
            if byte < 0x80 { return (value, index) }
            shift &+= 7  // at most 70
        }
        throw shift > 63 ? .varintOverflow(position: start) : .truncated(position: start)
    }

    /// Reads a field's tag; its number is above 0 and its wire type below 6.
    @inline(__always)
    @_lifetime(self: copy self)
    package mutating func tag(sizeMax: Int = 5) throws(RecordError) -> UInt32 {
        let start = position
        // Two bytes hold every field number that we know.
        if bytes.count &- start >= 2 {  // both are not negative
            let first = bytes[start]
            let second = bytes[start &+ 1]
            if first >= 0x80, second < 0x80, second > 0, first & 7 < 6 {
                position = start &+ 2  // at most count
                return UInt32(second) << 7 | UInt32(first & 0x7F)
            }
        }
        let value = try varint()
        // Five bytes hold every tag; swift-protobuf refuses longer ones, except inside groups.
        guard value < UInt64(UInt32.max), value >> 3 != 0, value & 7 < 6,
            position &- start <= sizeMax
        else {
            throw .invalidTag(position: start)
        }
        return UInt32(truncatingIfNeeded: value)
    }

    /// Reads a length and steps over so many bytes, whose range it returns.
    @inline(__always)
    @_lifetime(self: copy self)
    package mutating func delimited() throws(RecordError) -> ByteRange {
        let start = position
        let length = try varint()
        guard length <= UInt64(bytes.count &- position) else { throw .truncated(position: start) }
        let range = ByteRange(
            start: UInt32(truncatingIfNeeded: position),
            count: UInt32(truncatingIfNeeded: length)
        )
        position &+= Int(truncatingIfNeeded: length)  // at most the bytes that remain
        return range
    }

    /// Steps over so many bytes.
    @_lifetime(self: copy self)
    private mutating func advance(by count: Int) throws(RecordError) {
        guard bytes.count &- position >= count else { throw .truncated(position: position) }
        position &+= count  // at most the bytes that remain
    }

    /// Steps over the value of a field whose tag has just been read.
    @_lifetime(self: copy self)
    package mutating func skip(_ tag: UInt32, depth: Int = 0) throws(RecordError) {
        switch tag & 7 {
        case 0: _ = try varint()
        case 1: try advance(by: 8)
        case 2: _ = try delimited()
        case 3:
            guard depth < Self.groupDepthMax else { throw .nestedTooDeep(position: position) }
            while true {
                let start = position
                let inner = try self.tag(sizeMax: 10)
                if inner & 7 == 4 {
                    guard inner >> 3 == tag >> 3 else { throw .invalidTag(position: start) }
                    return
                }
                try skip(inner, depth: depth + 1)
            }
        case 5: try advance(by: 4)
        default: throw .invalidTag(position: position)
        }
    }
}

/// A range of bytes within a record.
package struct ByteRange: Hashable, BitwiseCopyable, Sendable {
    /// The byte position of the first byte.
    package var start: UInt32
    /// How many bytes.
    package var count: UInt32

    /// Makes a range.
    @inline(__always)
    package init(start: UInt32 = 0, count: UInt32 = 0) {
        self.start = start
        self.count = count
    }

    /// Whether the range holds nothing, which also stands for an absent field.
    package var isEmpty: Bool { count == 0 }

    /// The range as integers.
    package var range: Range<Int> { Int(start)..<(Int(start) + Int(count)) }
}

extension RawSpan {
    /// The same bytes as a span of integers.
    package var octets: Span<UInt8> {
        @_lifetime(copy self)
        @inline(__always)
        get { Span<UInt8>(_bytes: self) }
    }
}

extension Span<UInt8> {
    /// The same bytes as a raw span.
    package var raw: RawSpan {
        @_lifetime(copy self)
        @inline(__always)
        get { RawSpan(_elements: self) }
    }

    /// A copy of the bytes in an array.
    package func copied() -> [UInt8] {
        [UInt8](capacity: count) { output in
            for index in indices { output.append(self[index]) }
        }
    }

    /// The bytes as text; what is not UTF-8 becomes U+FFFD.
    package func text() -> String {
        String(decoding: copied(), as: UTF8.self)
    }
}
