/// Little-endian loads from raw bytes; out of range is a trap, as everywhere in Swift.
extension RawSpan {
    /// The little-endian integer at a byte offset, which need not be aligned.
    @inlinable
    package func littleEndian<T: FixedWidthInteger & BitwiseCopyable>(
        _ type: T.Type,
        at byteOffset: Int
    ) -> T {
        T(littleEndian: unsafe unsafeLoadUnaligned(fromByteOffset: byteOffset, as: T.self))
    }

    /// The byte at a byte offset.
    @inlinable
    package func byte(at byteOffset: Int) -> UInt8 {
        unsafe unsafeLoadUnaligned(fromByteOffset: byteOffset, as: UInt8.self)
    }
}

/// Little-endian stores into byte arrays.
extension [UInt8] {
    /// Appends an integer, least significant byte first.
    @inlinable
    package mutating func appendLittleEndian<T: FixedWidthInteger & UnsignedInteger>(_ value: T) {
        var rest = value
        for _ in 0..<(T.bitWidth / 8) {
            append(UInt8(truncatingIfNeeded: rest))
            rest >>= 8
        }
    }

    /// Overwrites bytes with an integer, least significant byte first.
    @inlinable
    package mutating func storeLittleEndian<T: FixedWidthInteger & UnsignedInteger>(
        _ value: T,
        at index: Int
    ) {
        var rest = value
        for place in index..<(index + T.bitWidth / 8) {
            self[place] = UInt8(truncatingIfNeeded: rest)
            rest >>= 8
        }
    }
}

extension Span<UInt8> {
    /// The same bytes as raw memory; `bytes` of any other element type could show padding, and is
    /// therefore marked unsafe. Modules above use the one of `Records`.
    var raw: RawSpan {
        @_lifetime(copy self)
        get { unsafe bytes }
    }
}
