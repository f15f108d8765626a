import { chown, open, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parseCallerPolicyFile, type CallerPolicyFile } from '../../gateway/caller-policy.ts';

/** For a new file; one that is there keeps its own, without what it gives to everybody. */
const newFileMode = 0o600;
const ownersAndGroup = 0o660;

/** The policy, or one without callers where there is no file yet. Throws `input_validation`. */
export async function readPolicyFile(path: string): Promise<CallerPolicyFile> {
  try {
    return parseCallerPolicyFile(await readFile(path, 'utf8'));
  } catch (error) {
    if (isMissing(error)) return { callers: [] };
    throw error;
  }
}

/**
 * Replaces the file by what `edit` makes of it, in one step: who reads it finds the old or the new one
 * whole, also after a crash. The file beside it, in which it is written, keeps a second edit out.
 * Throws what `edit` throws, `input_validation` for a policy that no gateway would take, and where the
 * folder cannot be written.
 */
export async function editPolicyFile(
  path: string,
  edit: (policy: CallerPolicyFile) => CallerPolicyFile,
): Promise<void> {
  const target = await realpath(path).catch((error: unknown) => {
    if (isMissing(error)) return path;
    throw error;
  });
  const beside = `${target}.new`;
  const file = await open(beside, 'wx', newFileMode).catch((error: unknown) => {
    if (!isExisting(error)) throw error;
    throw new Error(
      `${beside} is there: another edit is under way. If none is, delete it and try again.`,
    );
  });
  try {
    const text = `${JSON.stringify(edit(await readPolicyFile(target)), null, 2)}\n`;
    parseCallerPolicyFile(text);
    await keepOwnership(target, beside);
    await file.writeFile(text);
    await file.sync();
    await file.close();
    await rename(beside, target);
    const folder = await open(dirname(target), 'r');
    await folder.sync().finally(() => folder.close());
  } catch (error) {
    await file.close().catch(() => undefined);
    await rm(beside, { force: true });
    throw error;
  }
}

/** A gateway that runs as somebody else must be able to read it as before. */
async function keepOwnership(target: string, beside: string): Promise<void> {
  const [old, made] = await Promise.all([stat(target).catch(() => undefined), stat(beside)]);
  if (old === undefined) return;
  if (old.uid !== made.uid || old.gid !== made.gid) await chown(beside, old.uid, old.gid);
  const file = await open(beside, 'r+');
  await file.chmod(old.mode & ownersAndGroup).finally(() => file.close());
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function isExisting(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EEXIST';
}
