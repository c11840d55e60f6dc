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
    /// Whether `make sim` asks for it; seeds are known that end with records which are not folded.
    static let isAsked = ProcessInfo.processInfo.environment["SLUICE_SIM_STEPS"] != nil

    /// The planted bugs that are looked for; without being asked only one that is found at once.
    static let planted = isAsked ? Canary.allCases : [.sameIdentities]
}

@Suite("The whole way of a record", .serialized, .timeLimit(.minutes(60)))
struct SimulationTests {
    /// Steps in one world; then everything is mended, and compared.
    static let stepsPerWorld = 250

    @Test(
        "whatever is killed, lost, torn, copied or restored, every invariant holds",
        .enabled(if: Wanted.isAsked)
    )
    func everything() async throws {
        let environment = ProcessInfo.processInfo.environment
        var generator = SystemRandomNumberGenerator()
        let seed = environment["SLUICE_SIM_SEED"].flatMap { UInt64($0) } ?? generator.next()
        let steps = environment["SLUICE_SIM_STEPS"].flatMap { Int($0) } ?? 2_000
        print("simulation: \(steps) steps, seed \(seed)")
        let run = await simulate(seed: seed, steps: steps)
        for (name, count) in run.happened.sorted(by: { $0.key < $1.key }) {
            print("simulation: \(name) \(count)")
        }
        guard let (seed, step, error) = run.failure else { return }
        Issue.record("step \(step): \(error); make sim SEED=\(seed) STEPS=\(Self.stepsPerWorld)")
    }

    @Test("a planted bug is found, and named", arguments: Wanted.planted)
    func planted(canary: Canary) async throws {
        let run = await simulate(seed: 1, steps: 10_000, canary: canary)
        let failure = try #require(run.failure)
        let violation = try #require(failure.error as? Violation, "\(failure.error)")
        #expect(canary.invariants.contains(violation.invariant), "\(violation)")
        print("simulation: \(canary.rawValue) found in step \(run.steps): \(violation)")
    }

    /// Steps through worlds until one fails; the first has the seed itself.
    private func simulate(seed: UInt64, steps: Int, canary: Canary? = nil) async -> Run {
        // On a thread of its own: the others' tasks need theirs.
        await ThreadOwned(name: "simulation", ()).run { _ in
            var run = Run()
            var seeds = SplitMix(seed: seed)
            var seed = seed
            while run.steps < steps {
                var done = 0
                do {
                    let world = try World(seed: seed, canary: canary)
                    defer { world.database.drop() }
                    if ProcessInfo.processInfo.environment["SLUICE_SIM_TRACE"] != nil {
                        world.trace = { print("simulation: \($0)") }
                    }
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
                seed = seeds.next()
            }
            return run
        }
    }
}
