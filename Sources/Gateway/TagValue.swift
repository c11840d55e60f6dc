/// Makes the value of a tag of what a client sent.
package enum TagValue {
    /// What values that Sluice makes itself begin with, as `__other__`; nobody else's may.
    private static let reserved: [UInt8] = [0x5F, 0x5F]

    /// The value as text of at most `bytesMax` bytes of UTF-8; nil if there is none.
    ///
    /// What is no UTF-8 is replaced, control characters become spaces, spaces around are taken off.
    package static func cleaned(_ bytes: Span<UInt8>, bytesMax: Int) -> [UInt8]? {
        // A character that begins within the limit ends at most three bytes behind it.
        let count = min(bytes.count, bytesMax + 3)
        var copy: [UInt8] = []
        copy.reserveCapacity(count)
        for index in 0..<count { copy.append(bytes[index]) }
        var clean: [UInt8] = []
        clean.reserveCapacity(count)
        for scalar in String(decoding: copy, as: UTF8.self).unicodeScalars {
            let isControl = scalar.properties.generalCategory == .control
            let scalar = isControl ? " " : scalar
            guard clean.count + UTF8.width(scalar) <= bytesMax else { break }
            // None at the beginning.
            if scalar == " ", clean.isEmpty { continue }
            clean += UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter
        }
        while clean.last == 0x20 { clean.removeLast() }
        return clean.isEmpty || clean.starts(with: reserved) ? nil : clean
    }
}
