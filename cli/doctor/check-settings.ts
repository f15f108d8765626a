import { TokenManagerError, type InputFault } from '../../client/contract.ts';
import type { Config } from '../../platform/config.ts';
import { readProviders } from '../load-providers.ts';
import { reporterOf, type Finding } from './finding.ts';

const report = reporterOf('settings');

/** Every fault of the environment, of temporal.config.json and of PROVIDERS_FILE, and what has no effect. */
export function checkSettings(config: Config, faults: InputFault[]): Finding[] {
  const findings = [
    ...[...faults, ...providerFaults(config)].map(faultFinding),
    ...config.warnings.map((text) => report.warning(text, 'unset it, or expect nothing of it')),
  ];
  return findings.length > 0 ? findings : [report.ok('all settings can be used')];
}

/** A fault reads `is "x"; set y`: what is behind the last semicolon is what to do. */
function faultFinding(fault: InputFault): Finding {
  const name = 'parameter' in fault ? fault.parameter : fault.pointer;
  const end = fault.detail.lastIndexOf('; ');
  const [what, remedy] =
    end === -1
      ? [fault.detail, `correct ${name}`]
      : [fault.detail.slice(0, end), fault.detail.slice(end + 2)];
  return report.fault(`${name} ${what}`, remedy);
}

function providerFaults({ providersFile }: Config): InputFault[] {
  if (providersFile === undefined) return [];
  try {
    readProviders(providersFile);
    return [];
  } catch (error) {
    if (error instanceof TokenManagerError) return error.errors ?? [];
    // That it cannot be read is among the faults of the settings.
    return [];
  }
}
