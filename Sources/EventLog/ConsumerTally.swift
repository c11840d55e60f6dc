/// What became of the offsets of a log that a consumer has done with, besides those that it has
/// delivered; kept in the checkpoint, so that both move at one stroke.
package struct ConsumerTally: Equatable, Sendable {
    /// Counted from this offset on: what lies below was done before anybody counted.
    package var from: UInt64
    /// Records that were put aside, because the destination refused them for good.
    package var deadLettered: UInt64 = 0
    /// Offsets that a filter left out.
    package var filtered: UInt64 = 0
    /// Offsets that sampling left out.
    package var sampledOut: UInt64 = 0
    /// Offsets without a record: damaged, expired, or otherwise not there.
    package var skipped: UInt64 = 0

    /// Nothing counted below an offset.
    package init(from: UInt64) { self.from = from }

    /// The offsets counted, those delivered excepted.
    package var total: UInt64 { deadLettered &+ filtered &+ sampledOut &+ skipped }

    /// The numbers as a checkpoint has them.
    var fields: [UInt64] { [from, deadLettered, filtered, sampledOut, skipped] }

    /// Reads the numbers of a checkpoint.
    init?(_ fields: [UInt64]) {
        guard fields.count == 5 else { return nil }
        from = fields[0]
        deadLettered = fields[1]
        filtered = fields[2]
        sampledOut = fields[3]
        skipped = fields[4]
    }
}
