import Postgres
import Records
import Rollups

/// A bucket of one organisation in one table: what the cardinality bound applies to.
struct KeyGroup: Hashable, Sendable {
    let table: String
    let bucket: Int64
    let org: Int32
}

/// What the compactor remembers between rounds to decide about the cardinality bound cheaply.
///
/// True as long as nobody else writes rollup rows, which is what holding the advisory lock means;
/// forgotten with the lock, with the connection, and after every round that failed.
struct KeyGroupCache {
    /// What is known of a group.
    struct Entry {
        /// Rows in the table.
        var count: Int
        /// The largest rank kept, once keys have been displaced.
        var rankMax: UInt64?
    }

    private var entries: [KeyGroup: Entry] = [:]

    /// Most groups remembered; chosen: a few megabytes. Beyond, everything is forgotten.
    private static let countMax = 100_000

    subscript(group: KeyGroup) -> Entry? {
        get { entries[group] }
        set {
            if entries.count >= Self.countMax, entries[group] == nil { entries.removeAll() }
            entries[group] = newValue
        }
    }

    mutating func removeAll() { entries.removeAll() }
}

/// The hashes of dimension values by id, from which key ranks are made.
///
/// Ranks depend on values, never on ids, so that every database keeps the same keys.
struct ValueHashes {
    private var hashes: [Int32: UInt64] = [0: StableHash.hash("")]
    private var unmatched: Int32?

    /// Most values remembered. Beyond, everything is forgotten.
    private static let countMax = 500_000

    mutating func removeAll() {
        hashes = [0: StableHash.hash("")]
        unmatched = nil
    }

    /// Looks up the values that are not known.
    mutating func load(
        _ ids: Set<Int32>,
        on connection: PostgresConnection
    ) throws(PostgresError) {
        if hashes.count + ids.count > Self.countMax { removeAll() }
        if unmatched == nil {
            let found = try connection.query(
                "SELECT id FROM sluice.dimension WHERE name = 'route' AND value = '__unmatched__'"
            )
            if found.rowCount == 1, let id = found.int(0, 0) {
                unmatched = Int32(truncatingIfNeeded: id)
            }
        }
        let missing = ids.filter { hashes[$0] == nil }
        guard !missing.isEmpty else { return }
        let result = try connection.query(
            "SELECT id, value FROM sluice.dimension WHERE id = ANY ($1::int8[])",
            [.intArray(missing.map { Int64($0) })]
        )
        for row in 0..<result.rowCount {
            guard let id = result.int(row, 0) else { continue }
            hashes[Int32(truncatingIfNeeded: id)] = result.withBytes(row, 1) {
                StableHash.hash($0.octets)
            }
        }
    }

    /// The rank of a key; all its ids must have been loaded.
    func rank(_ key: ArraySlice<Int32>, _ definition: RollupDefinition) -> UInt64 {
        var isUnmatched = false
        var parts: [UInt64] = []
        parts.reserveCapacity(key.count)
        for (dimension, id) in zip(definition.dimensions, key) {
            if dimension.isInteger {
                parts.append(StableHash.hash(integer: Int64(id)))
            } else {
                if dimension == .route, id == unmatched { isUnmatched = true }
                parts.append(hashes[id] ?? 0)
            }
        }
        return keyRank(isUnmatched: isUnmatched, valueHashes: parts)
    }
}
