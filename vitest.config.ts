import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const stackTests = 'test/**/*.stack.test.ts';

/** These mostly wait, for outages to pass or for other processes: begun first, they pass beside the rest. */
const longest = [
  'kill',
  'key-rotation',
  'temporal-outage',
  'postgres-outage',
  'claim-model',
  'fencing',
  'processes',
  'schemathesis',
];

class LongestFirst extends BaseSequencer {
  override sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const index = longest.findIndex((name) => moduleId.includes(`/${name}.`));
      return index === -1 ? longest.length : index;
    };
    return Promise.resolve(files.toSorted((a, b) => rank(a) - rank(b)));
  }
}

export default defineConfig({
  test: {
    pool: 'forks',
    maxWorkers: 3,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    setupFiles: ['test/support/patient-waits.ts'],
    expect: { poll: { timeout: 10_000 } },
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: [stackTests],
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'stack',
          include: [stackTests],
          globalSetup: 'test/support/global-setup.ts',
          setupFiles: 'test/support/quiet-temporal.ts',
          sequence: { groupOrder: 1 },
        },
      },
    ],
    sequence: { sequencer: LongestFirst },
  },
});
