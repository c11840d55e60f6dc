/// One row that a fold made, valid during the call that it is passed to.
package struct FoldedRow: ~Escapable {
    /// What all rows of a rollup have in common.
    private let shared: Shared
    /// The start of the bucket (of the finest tier), in microseconds since the epoch.
    package let bucket: Int64
    /// The integer measures.
    package let counts: Counts
    /// The value id of each dimension; the number itself for integer dimensions; 0 = absent.
    package let valueIDs: Span<UInt32>
    /// The encoded histogram of total durations; empty when none is known.
    package let latencyHistogram: Span<UInt8>
    /// The encoded histogram of upstream durations; empty when none is known.
    package let upstreamHistogram: Span<UInt8>
    /// The encoded sketch of distinct clients.
    package let clients: Span<UInt8>
    /// The encoded sketch of distinct keys; empty unless the rollup counts keys.
    package let keys: Span<UInt8>

    /// What all rows of a rollup have in common: one reference, since a row is made of it.
    final class Shared {
        let definition: RollupDefinition
        /// The values of the batch.
        let values: [ValueTable]
        /// The place of each dimension among them.
        let places: [Int]

        init(_ definition: RollupDefinition, _ values: [ValueTable], places: [Int]) {
            self.definition = definition
            self.values = values
            self.places = places
        }
    }

    /// Gathers the parts of a row.
    @_lifetime(copy valueIDs, copy latency, copy upstream, copy clients, copy keys)
    init(
        _ shared: Shared,
        bucket: Int64,
        counts: Counts,
        valueIDs: Span<UInt32>,
        latency: Span<UInt8>,
        upstream: Span<UInt8>,
        clients: Span<UInt8>,
        keys: Span<UInt8>
    ) {
        self.shared = shared
        self.bucket = bucket
        self.counts = counts
        self.valueIDs = valueIDs
        latencyHistogram = latency
        upstreamHistogram = upstream
        self.clients = clients
        self.keys = keys
    }

    /// The rollup that the row belongs to.
    package var definition: RollupDefinition { shared.definition }

    /// The bytes of the value of the dimension at an index of the definition; empty = absent.
    package func value(of index: Int) -> ArraySlice<UInt8> {
        shared.values[shared.places[index]].value(valueIDs[index])
    }

    /// The text of the value of the dimension at an index; numbers in decimal, empty = absent.
    package func text(of index: Int) -> String {
        guard definition.dimensions[index].isInteger else {
            return String(decoding: value(of: index), as: UTF8.self)
        }
        return valueIDs[index] == 0 ? "" : String(valueIDs[index])
    }
}
