package import Rollups

/// How a question is answered: from which rollup, which spans of which tiers, into which buckets.
package struct Plan: Sendable {
    /// A span of time read from one tier; both ends are multiples of the tier.
    package struct Span: Equatable, Sendable {
        /// Which tier.
        package var tier: Tier
        /// Start, microseconds since the Unix epoch.
        package var from: Int64
        /// End, exclusive.
        package var to: Int64
    }

    /// The rollup that is read.
    package var rollup: RollupDefinition

    /// Start of the range after rounding outward, microseconds since the Unix epoch.
    package var from: Int64

    /// End of the range after rounding outward, exclusive.
    package var to: Int64

    /// Width of the buckets; `auto` has been decided.
    package var granularity: Granularity

    /// The zone that buckets follow.
    package var zone: Zone

    /// The buckets; empty for `total`.
    package var buckets: TimeBuckets

    /// What is read, in order of time, without gaps or overlaps from `readFrom` to `to`.
    package var spans: [Span]

    /// Where reading begins: at `from`, or for later pages at the bucket of the cursor.
    package var readFrom: Int64

    /// Lets reading begin with a bucket (Unix seconds), which must be one of the answer's.
    mutating func begin(with bucket: Int64) {
        let finest = rollup.finestTier.microseconds
        readFrom = max(from, CivilTime.floor(bucket * 1_000_000, to: finest))
        spans = Planner.spans(rollup, readFrom, to, buckets)
    }
}

/// Chooses the cheapest way that answers a question exactly.
package struct Planner: Sendable {
    /// Rollups from the smallest to the largest.
    package var rollups: [RollupDefinition]

    /// Since when rollups are complete, by name, microseconds since the Unix epoch; one that is
    /// not here is complete from the beginning.
    package var completeSince: [String: Int64] = [:]

    /// Before when tiers were dropped, by rollup, microseconds since the Unix epoch; tiers that are
    /// not here keep everything. No tier is kept longer than a coarser one.
    package var horizons: [String: [Tier: Int64]] = [:]

    /// From when on raw records answer what no rollup does, microseconds since the Unix epoch; nil
    /// if they are not kept, or not for this question.
    package var recordsSince: Int64?

    /// Most buckets that `auto` gives; the contract's number.
    static let automaticBucketsMax = 300

    /// A planner over `rollups`, smallest first.
    package init(rollups: [RollupDefinition] = RollupDefinition.smallestFirst) {
        self.rollups = rollups
    }

    /// The plan for `request`, to which the caller has added the filters that the token forces.
    package func plan(_ request: UsageRequest) throws(Problem) -> Plan {
        let candidates = try candidates(for: request)
        // The finest tier of all decides about rounding: whoever lacks it must not round further.
        let finest = candidates.map { finestTier(of: $0, at: request.from) }.min() ?? .minute
        let finestAtEnd = candidates.map { finestTier(of: $0, at: request.to) }.min() ?? .minute
        let from = CivilTime.floor(request.from, to: finest.microseconds)
        let to = CivilTime.ceiling(request.to, to: finestAtEnd.microseconds)
        let seconds = (from: from / 1_000_000, to: to / 1_000_000)
        guard let zone = Zone(request.zoneName, from: seconds.from, to: seconds.to) else {
            throw .invalid("tz", "\"\(request.zoneName)\" is not an IANA time zone")
        }
        let granularity: Granularity
        let buckets: TimeBuckets
        if let wanted = request.granularity {
            guard
                let made = TimeBuckets(wanted, from: seconds.from, to: seconds.to, zone: zone)
            else {
                throw Problem(
                    .tooManyBuckets,
                    "the range has more than \(TimeBuckets.countMax) buckets of \(wanted.rawValue)"
                        + "; take a coarser granularity or a shorter range",
                    parameter: "granularity"
                )
            }
            (granularity, buckets) = (wanted, made)
        } else {
            (granularity, buckets) = Self.automatic(finest, seconds.from, seconds.to, zone)
        }
        let rollup =
            candidates.first { rollup in
                let first = finestTier(of: rollup, at: request.from)
                let last = finestTier(of: rollup, at: request.to)
                return
                    (first == finest
                    || granularity.fits(first, zone: request.zoneName)
                        && from % first.microseconds == 0)
                    && (last == finestAtEnd || to % last.microseconds == 0)
            } ?? candidates[0]
        return Plan(
            rollup: rollup,
            from: from,
            to: to,
            granularity: granularity,
            zone: zone,
            buckets: buckets,
            spans: Self.spans(rollup, from, to, buckets),
            readFrom: from
        )
    }

    /// The finest tier of which the bucket of a time is still there; the coarsest if none is.
    private func finestTier(of rollup: RollupDefinition, at time: Int64) -> Tier {
        guard let horizons = horizons[rollup.name] else { return rollup.finestTier }
        return rollup.tiers.first { tier in
            CivilTime.floor(time, to: tier.microseconds) >= horizons[tier] ?? .min
        } ?? rollup.tiers[rollup.tiers.count - 1]
    }

    /// The rollups that have the dimensions, the measures, a tier fine enough and every record of
    /// the range, smallest first; if none has every record, the one that is complete for longest.
    private func candidates(for request: UsageRequest) throws(Problem) -> [RollupDefinition] {
        var needed = request.groupBy
        for filter in request.filters where !needed.contains(filter.dimension) {
            needed.append(filter.dimension)
        }
        let covering = rollups.filter { rollup in
            needed.allSatisfy(rollup.covers)
                && (!request.metrics.contains(.uniqueKeys) || rollup.canCountKeys)
        }
        let records = records(for: request)
        guard let first = covering.first else {
            if let records { return [records] }
            throw Self.refusal(needed, request.metrics)
        }
        let fine = covering.filter { rollup in
            request.granularity?.fits(
                finestTier(of: rollup, at: request.from),
                zone: request.zoneName
            ) ?? true
        }
        let whole = fine.filter { rollup in
            completeSince[rollup.name].map { $0 <= request.from } ?? true
        }
        if !whole.isEmpty { return whole }
        if let records { return [records] }
        let longest = fine.min { left, right in
            (completeSince[left.name] ?? .min) < (completeSince[right.name] ?? .min)
        }
        guard let longest else { throw tooCoarse(covering, first, request, needed) }
        return [longest]
    }

    /// Raw records, if all of the range are there.
    private func records(for request: UsageRequest) -> RollupDefinition? {
        guard let recordsSince else { return nil }
        let start = CivilTime.floor(
            request.from,
            to: RollupDefinition.records.finestTier.microseconds
        )
        return start >= recordsSince ? .records : nil
    }

    /// Says that only coarser tiers are kept, at all or for so long.
    private func tooCoarse(
        _ covering: [RollupDefinition],
        _ first: RollupDefinition,
        _ request: UsageRequest,
        _ needed: [Dimension]
    ) -> Problem {
        let finest = covering.first { rollup in
            request.granularity?.fits(rollup.finestTier, zone: request.zoneName) ?? true
        }
        guard let finest else { return Self.tooCoarse(first, needed) }
        let since = finest.tiers.compactMap { tier -> String? in
            guard let horizon = horizons[finest.name]?[tier] else { return nil }
            return "\(tier.rawValue) since \(CivilTime.utc(microseconds: horizon))"
        }
        return Problem(
            .notCovered,
            "rollup \(finest.name) keeps its tiers for a limited time "
                + "(\(since.joined(separator: ", "))); ask for a coarser granularity than "
                + "\(request.granularity?.rawValue ?? "auto"), or for a later from",
            parameter: "from"
        )
    }

    /// Says that only coarser tiers are kept.
    private static func tooCoarse(_ rollup: RollupDefinition, _ needed: [Dimension]) -> Problem {
        Problem(
            .notCovered,
            "rollup \(rollup.name) has no tier finer than \(rollup.finestTier.rawValue); ask for "
                + "granularity \(rollup.finestTier.rawValue) or coarser, or define a rollup with "
                + "tier 1m and dimensions \(list(needed))",
            parameter: "granularity"
        )
    }

    /// Says which definition would cover `needed`.
    private static func refusal(_ needed: [Dimension], _ metrics: [Metric]) -> Problem {
        var wanted = needed
        if metrics.contains(.uniqueKeys), !wanted.contains(.key) { wanted.append(.key) }
        let name = name(for: wanted)
        return Problem(
            .notCovered,
            "no rollup has the dimensions \(list(needed)); drop some of them, or define one in the "
                + "configuration: rollups: [{ name: \(name), dimensions: \(list(wanted)) }]",
            parameter: "group_by"
        )
    }

    /// A name that such a definition may have.
    private static func name(for dimensions: [Dimension]) -> String {
        let text = "by-" + dimensions.map(\.name).joined(separator: "-").lowercased()
        let fit = text.map { $0.isLetter || $0.isNumber || $0 == "_" ? $0 : "-" }
        return String(fit.prefix(RollupDefinition.nameMax))
    }

    private static func list(_ dimensions: [Dimension]) -> String {
        "[" + dimensions.map(\.name).joined(separator: ", ") + "]"
    }

    /// The finest granularity with at most 300 buckets that a tier covers.
    private static func automatic(
        _ finest: Tier,
        _ from: Int64,
        _ to: Int64,
        _ zone: Zone
    ) -> (Granularity, TimeBuckets) {
        for granularity in Granularity.allCases where granularity.fits(finest, zone: zone.name) {
            if let buckets = TimeBuckets(
                granularity,
                from: from,
                to: to,
                zone: zone,
                countMax: automaticBucketsMax
            ) {
                return (granularity, buckets)
            }
        }
        return (.total, TimeBuckets.none)
    }

    /// Covers the range with the coarsest tiers whose buckets lie wholly within one bucket of the
    /// answer each: coarse in the middle, finer towards ragged ends.
    static func spans(
        _ rollup: RollupDefinition,
        _ from: Int64,
        _ to: Int64,
        _ buckets: TimeBuckets
    ) -> [Plan.Span] {
        let finest = rollup.finestTier
        let coarseFirst = rollup.tiers.sorted { $0.microseconds > $1.microseconds }
        let usable = coarseFirst.filter { tier in
            tier == finest || buckets.boundariesAreMultiples(of: tier.microseconds / 1_000_000)
        }
        return cover(from, to, usable[...])
    }

    private static func cover(
        _ from: Int64,
        _ to: Int64,
        _ tiers: ArraySlice<Tier>
    ) -> [Plan.Span] {
        guard let tier = tiers.first, from < to else { return [] }
        let finer = tiers.dropFirst()
        if finer.isEmpty { return [Plan.Span(tier: tier, from: from, to: to)] }
        let start = CivilTime.ceiling(from, to: tier.microseconds)
        let end = CivilTime.floor(to, to: tier.microseconds)
        guard start < end else { return cover(from, to, finer) }
        return cover(from, start, finer) + [Plan.Span(tier: tier, from: start, to: end)]
            + cover(end, to, finer)
    }
}

extension TimeBuckets {
    /// No buckets: one total.
    static let none = TimeBuckets(starts: [])

    /// Buckets with given starts.
    private init(starts: [Int64]) { self.starts = starts }

    /// Whether every boundary within the range, thus all starts but the first, is a multiple.
    func boundariesAreMultiples(of seconds: Int64) -> Bool {
        starts.dropFirst().allSatisfy { $0 % seconds == 0 }
    }
}

extension RollupDefinition {
    /// Whether questions about `dimension` can be answered; a status class follows from the status.
    package func covers(_ dimension: Dimension) -> Bool {
        dimensions.contains(dimension)
            || (dimension == .statusClass && dimensions.contains(.status))
            || (dimension.tagName != nil && isOfRecords)
    }

    /// Whether distinct keys can be counted: by a sketch, or because keys are a dimension.
    package var canCountKeys: Bool { countsKeys || dimensions.contains(.key) }
}
