import { reporterOf, type Finding } from './finding.ts';

/** Above the sum of the deadlines inside any one check. */
const checkLimitMs = 20_000;

export interface Check {
  name: string;
  /** Should not reject; that it does is a finding too. */
  run: () => Promise<Finding[]>;
}

/** Runs all checks at once, each for 20 s at most, and returns their findings in the order given. */
export async function runChecks(checks: Check[], limitMs = checkLimitMs): Promise<Finding[]> {
  const findings = await Promise.all(checks.map((check) => runCheck(check, limitMs)));
  return findings.flat();
}

async function runCheck({ name, run }: Check, limitMs: number): Promise<Finding[]> {
  const report = reporterOf(name);
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<Finding[]>((resolve) => {
    timer = setTimeout(() => {
      const remedy = 'look at the network between this machine and what is checked; run it again';
      resolve([report.fault(`the check did not end within ${limitMs / 1_000} s`, remedy)]);
    }, limitMs);
  });
  const ran = Promise.resolve()
    .then(run)
    .catch((error: unknown) => {
      const reason = error instanceof Error ? error.message : 'unknown reason';
      return [report.fault(`the check itself failed: ${reason}`, 'report this as a fault of ours')];
    });
  try {
    return await Promise.race([ran, limit]);
  } finally {
    clearTimeout(timer);
  }
}
