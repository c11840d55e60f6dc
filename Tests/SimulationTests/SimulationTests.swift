import Foundation
import Testing
import Threads

/// What one run of the simulation came to.
struct Run {
    var steps = 0
    var happened: [String: Int] = [:]
    /// The seed that repeats it, and what was wrong; nil when all went well.
    var failure: (seed: UInt64, step: Int, error: any Error)?
}

/// What is to be run.
enum Wanted {
    private static let environment = ProcessInfo.processInfo.environment

    /// Whether every step is to be told.
    static let isTraced = environment["SLUICE_SIM_TRACE"] != nil

    /// How many steps.
    static let steps = environment["SLUICE_SIM_STEPS"].flatMap { Int($0) } ?? 2_000

    /// The seed of `make sim`: the one asked for, or a random one; nil when it was not asked.
    static let seed: UInt64? = {
        if let seed = environment["SLUICE_SIM_SEED"].flatMap({ UInt64($0) }) { return seed }
        guard environment["SLUICE_SIM_STEPS"] != nil else { return nil }
        var generator = SystemRandomNumberGenerator()
        return generator.next()
    }()

    /// The worlds that are always stepped through: always the same, so that a change breaks them
    /// or nothing does. The first two found partitions that were read again for ever.
    static let seeds: [UInt64] = [
        8_195_237_237_126_968_761, 15_847_914_186_252_977_247, 1, 2, 3, 4, 5, 6,
    ]
}

@Suite("The whole way of a record", .serialized, .timeLimit(.minutes(60)))
struct SimulationTests {
    /// Steps in one world; then everything is mended, and compared.
    static let stepsPerWorld = 250

    @Test("whatever is killed, lost, torn, copied or restored, every invariant holds")
    func everything() async throws {
        let seeds = Wanted.seed.map { [$0] } ?? Wanted.seeds
        print("simulation: \(Wanted.steps) steps, seeds \(seeds)")
        let run = await simulate(seeds, steps: Wanted.steps)
        for (name, count) in run.happened.sorted(by: { $0.key < $1.key }) {
            print("simulation: \(name) \(count)")
        }
        guard let (seed, step, error) = run.failure else { return }
        Issue.record("step \(step): \(error); make sim SEED=\(seed) STEPS=\(Self.stepsPerWorld)")
    }

    @Test("a planted bug is found, and named", arguments: Canary.allCases)
    func planted(canary: Canary) async throws {
        let run = await simulate([Wanted.seed ?? canary.seed], steps: 10_000, canary: canary)
        let failure = try #require(run.failure)
        let violation = try #require(failure.error as? Violation, "\(failure.error)")
        #expect(canary.invariants.contains(violation.invariant), "\(violation)")
        print("simulation: \(canary.rawValue) found in step \(run.steps): \(violation)")
    }

    /// Steps through one world for each seed, and through those of seeds that follow from the last
    /// one, until one fails.
    private func simulate(_ seeds: [UInt64], steps: Int, canary: Canary? = nil) async -> Run {
        // On a thread of its own: the others' tasks need theirs.
        await ThreadOwned(name: "simulation", ()).run { _ in
            var run = Run()
            var following = SplitMix(seed: seeds.last ?? 0)
            var number = 0
            while run.steps < steps {
                let seed = number < seeds.count ? seeds[number] : following.next()
                number += 1
                var done = 0
                do {
                    let world = try World(seed: seed, canary: canary)
                    defer { world.database.drop() }
                    if Wanted.isTraced { world.trace = { print("simulation: \($0)") } }
                    while done < min(Self.stepsPerWorld, steps - run.steps) {
                        done += 1
                        try world.step()
                    }
                    try world.finish()
                    run.happened.merge(world.happened) { $0 + $1 }
                } catch {
                    run.steps += done
                    run.failure = (seed, done, error)
                    return run
                }
                run.steps += done
            }
            return run
        }
    }
}
