import Postgres
import Rollups

extension DimensionCache {
    /// Finds or makes the ids of everything that rows of a batch name.
    ///
    /// - Parameters:
    ///   - rollups: The rows.
    ///   - connection: A connection without open transaction.
    ///   - beforeLookup: Called if the database has to be asked at all.
    /// - Returns: The database's id of each value id of each dimension, by its place.
    mutating func resolve(
        _ rollups: FoldBatch,
        on connection: PostgresConnection,
        beforeLookup: () throws(PostgresError) -> Void
    ) throws(PostgresError) -> [[Int32]] {
        var values: [DimensionValue] = []
        var counts: [Int] = []
        for (place, dimension) in rollups.dimensions.enumerated() {
            let count = rollups.valueCount(at: place)
            counts.append(count)
            for id in 1..<max(1, UInt32(count)) {
                values.append(DimensionValue(dimension, rollups.value(id, at: place)))
            }
        }
        let found = try resolve(values, on: connection, beforeLookup: beforeLookup)
        var ids: [[Int32]] = []
        var next = 0
        for count in counts {
            let here = max(0, count - 1)
            ids.append([0] + found[next..<(next + here)])
            next += here
        }
        return ids
    }
}
