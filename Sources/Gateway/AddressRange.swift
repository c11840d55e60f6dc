/// A range of network addresses, such as `10.0.0.0/8`.
package struct AddressRange: Equatable, Sendable {
    /// The 4 or 16 bytes of an address in it.
    package let address: [UInt8]

    /// How many leading bits count.
    package let bits: Int

    /// A range of its parts; nil unless they fit each other.
    package init?(address: [UInt8], bits: Int) {
        guard address.count == 4 || address.count == 16, bits >= 0, bits <= address.count * 8
        else { return nil }
        self.address = address
        self.bits = bits
    }

    /// Whether an address of 4 or 16 bytes lies in the range.
    package func contains(_ other: [UInt8]) -> Bool {
        guard other.count == address.count else { return false }
        let whole = bits / 8
        for index in 0..<whole where other[index] != address[index] { return false }
        let rest = bits % 8
        guard rest > 0 else { return true }
        let mask = UInt8(truncatingIfNeeded: 0xFF00 >> rest)
        return other[whole] & mask == address[whole] & mask
    }
}
