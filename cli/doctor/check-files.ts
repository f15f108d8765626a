import { stat } from 'node:fs/promises';
import type { NamedFile } from '../../platform/settings.ts';
import { reporterOf, type Finding } from './finding.ts';

const readableByOthers = 0o004;
const writableByOthers = 0o002;
const writableByGroup = 0o020;
const permissionBits = 0o777;

const report = reporterOf('files');

/** Whether files of secrets are closed to others, and files that decide whom to trust are too. */
export async function checkFiles(files: {
  secret: NamedFile[];
  trusted: NamedFile[];
}): Promise<Finding[]> {
  const findings = await Promise.all([
    ...files.secret.map((file) => checkFile(file, judgeSecretFile)),
    ...files.trusted.map((file) => checkFile(file, judgeTrustedFile)),
  ]);
  const found = findings.filter((finding) => finding !== undefined);
  if (found.length > 0) return found;
  const count = files.secret.length + files.trusted.length;
  return [report.ok(`the permissions of ${count} ${count === 1 ? 'file' : 'files'} are in order`)];
}

async function checkFile(
  file: NamedFile,
  judge: (file: NamedFile, mode: number) => Finding | undefined,
): Promise<Finding | undefined> {
  try {
    return judge(file, (await stat(file.path)).mode & permissionBits);
  } catch {
    // That it cannot be read is a fault of the settings.
    return undefined;
  }
}

/** The group may read: volumes of secrets are mounted so. */
export function judgeSecretFile({ setting, path }: NamedFile, mode: number): Finding | undefined {
  if ((mode & (writableByOthers | writableByGroup)) !== 0) {
    return report.fault(
      `${setting} ${path} may be written by others (mode ${mode.toString(8)}): they could put a ` +
        'secret of their own there',
      `run \`chmod 600 ${path}\``,
    );
  }
  if ((mode & readableByOthers) === 0) return undefined;
  return report.warning(
    `${setting} ${path} may be read by every user of this machine (mode ${mode.toString(8)})`,
    `run \`chmod 600 ${path}\`; for a mounted volume set defaultMode 0440 and fsGroup`,
  );
}

export function judgeTrustedFile({ setting, path }: NamedFile, mode: number): Finding | undefined {
  if ((mode & writableByOthers) === 0) return undefined;
  return report.fault(
    `${setting} ${path} may be written by every user of this machine (mode ${mode.toString(8)}), and ` +
      'decides where tokens go or who gets them',
    `run \`chmod o-w ${path}\``,
  );
}
