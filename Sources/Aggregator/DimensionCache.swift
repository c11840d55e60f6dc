import Postgres
import Records
package import Rollups

/// A value of a dimension, as text that PostgreSQL stores.
///
/// Compared by its bytes: Swift's `String` holds differently composed characters equal, PostgreSQL
/// does not.
package struct DimensionValue: Hashable, Comparable, Sendable {
    /// Of which dimension.
    package let dimension: Dimension
    /// The value in UTF-8.
    package let bytes: [UInt8]

    /// The value as text.
    package var text: String { String(decoding: bytes, as: UTF8.self) }

    /// Orders values so that all processes insert them in the same order.
    package static func < (left: DimensionValue, right: DimensionValue) -> Bool {
        if left.dimension != right.dimension {
            return (left.dimension.rank, left.dimension.name)
                < (right.dimension.rank, right.dimension.name)
        }
        return left.bytes.lexicographicallyPrecedes(right.bytes)
    }

    /// Longest value in bytes that is kept as it is: an index entry takes 2,700, and a URL template
    /// or name longer than this is nobody's intention.
    package static let bytesMax = 1_000

    /// Makes a value that can be stored and indexed: valid UTF-8, no U+0000, not too long. What is
    /// cut off is replaced by a hash of the whole, so that different values stay different.
    package init(_ dimension: Dimension, _ bytes: ArraySlice<UInt8>) {
        self.dimension = dimension
        var storable = Array(bytes)
        if !TextRepair.isStorable(storable.span) {
            storable = TextRepair.repaired(storable.span)
        }
        if storable.count > Self.bytesMax {
            var hash: UInt64 = 0xCBF2_9CE4_8422_2325
            for byte in storable {
                // FNV-1a is defined modulo 2^64.
                hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3
            }
            var end = Self.bytesMax - 17
            while end > 0, storable[end] & 0xC0 == 0x80 { end -= 1 }
            let digits = String(hash, radix: 16)
            storable = storable[..<end] + [UInt8(ascii: "~")] + Array(digits.utf8)
        }
        self.bytes = storable
    }

    /// A value that is known to be storable.
    init(_ dimension: Dimension, storable value: String) {
        self.dimension = dimension
        self.bytes = Array(value.utf8)
    }
}

/// The surrogate ids of dimension values that this connection has seen, so that most folds need
/// not ask for any.
///
/// Only ids that have been committed are in it. It lives as long as its connection: after a
/// reconnect the database may be another one, restored from a backup, in which the same values
/// have other ids.
struct DimensionCache {
    private var ids: [DimensionValue: Int32] = [:]
    private let countMax: Int

    /// An empty cache that forgets everything once it has more than `countMax` values.
    init(countMax: Int) {
        self.countMax = countMax
    }

    /// Forgets everything.
    mutating func removeAll() { ids.removeAll() }

    /// Finds or makes the ids of values, in a short transaction of its own (each statement commits
    /// by itself) before the fold transaction: inside, two folds would wait for each other.
    ///
    /// - Parameters:
    ///   - values: The values; doubles are fine.
    ///   - connection: A connection without open transaction.
    ///   - beforeLookup: Called if the database has to be asked at all.
    /// - Returns: The id of each value.
    mutating func resolve(
        _ values: [DimensionValue],
        on connection: PostgresConnection,
        beforeLookup: () throws(PostgresError) -> Void
    ) throws(PostgresError) -> [Int32] {
        var missing: Set<DimensionValue> = []
        for value in values where ids[value] == nil { missing.insert(value) }
        if !missing.isEmpty {
            try beforeLookup()
            if ids.count + missing.count > countMax { ids.removeAll() }
            // The values known already are looked up again when the cache has been dropped.
            var unknown = Set(values.filter { ids[$0] == nil })
            try select(&unknown, on: connection)
            if !unknown.isEmpty {
                try insert(unknown.sorted(), on: connection)
                try select(&unknown, on: connection)
            }
        }
        var result: [Int32] = []
        result.reserveCapacity(values.count)
        for value in values {
            guard let id = ids[value] else {
                throw PostgresError(
                    call: "DimensionCache.resolve",
                    message: "dimension \"\(value.dimension.name)\" has a value without id"
                )
            }
            result.append(id)
        }
        return result
    }

    /// Looks values up; those that exist are taken out of `unknown`.
    private mutating func select(
        _ unknown: inout Set<DimensionValue>,
        on connection: PostgresConnection
    ) throws(PostgresError) {
        let wanted = unknown.sorted()
        let result = try connection.query(
            """
            SELECT w.position, d.id
            FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (name, value, position)
            JOIN sluice.dimension d USING (name, value)
            """,
            [.textArray(wanted.map(\.dimension.name)), .textArray(wanted.map(\.text))]
        )
        for row in 0..<result.rowCount {
            guard let position = result.int(row, 0), let id = result.int(row, 1) else { continue }
            let value = wanted[Int(position) - 1]
            ids[value] = Int32(truncatingIfNeeded: id)
            unknown.remove(value)
        }
    }

    /// Inserts values in their order, so that two processes cannot wait for each other in turn.
    private func insert(
        _ values: [DimensionValue],
        on connection: PostgresConnection
    ) throws(PostgresError) {
        try connection.query(
            """
            INSERT INTO sluice.dimension (name, value)
            SELECT name, value
            FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (name, value, position)
            ORDER BY position
            ON CONFLICT DO NOTHING
            """,
            [.textArray(values.map(\.dimension.name)), .textArray(values.map(\.text))]
        )
    }
}
