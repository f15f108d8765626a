import { Command, InvalidArgumentError } from 'commander';
import { scopes, type Scope } from '../../gateway/caller.ts';
import { keyHashOf } from '../../gateway/callers.ts';
import { loadCallersFile } from '../../platform/load-callers-file.ts';
import { readableError } from '../readable-error.ts';
import { createKey } from './create-key.ts';
import { addCaller, removeCaller } from './edit-policy.ts';
import { editPolicyFile, readPolicyFile } from './policy-file.ts';
import { renderCallers } from './render-callers.ts';

const addHelp = `
The key is written to standard output, once, and kept nowhere: the file holds its hash. Gateways take the
changed file within seconds.

  token-manager callers add billing --scopes tokens:read,tokens:refresh --tenants '*'
  token-manager callers add billing                 one more key, for the time of a change
  token-manager callers remove billing --key sha256:3d91f9b4
  token-manager callers add sync --match dns:sync.example.com --scopes tokens:read --tenants acme`;

interface AddOptions {
  file?: string;
  scopes?: Scope[];
  tenants?: '*' | string[];
  match: string[];
}

/** `token-manager callers`: edits the policy of CALLERS_FILE. */
export function createCallersCommand(): Command {
  const command = new Command('callers').description(
    'who may call: edits the policy file that CALLERS_FILE names',
  );
  command
    .command('add <name>')
    .description('add a caller with a new key (or a certificate), or another key to one')
    .option('--scopes <list>', `of ${scopes.join(',')}`, readScopes)
    .option('--tenants <list>', 'tenant ids, or * for all', readTenants)
    .option('--match <subject...>', 'instead of a key: uri:…, dns:… or cn:… of a certificate', [])
    .option('--file <path>', 'instead of CALLERS_FILE')
    .addHelpText('after', addHelp)
    .action((name: string, options: AddOptions) => tellFailure(() => add(name, options)));
  command
    .command('list')
    .description('show the callers; of keys the beginnings of their hashes')
    .option('--file <path>', 'instead of CALLERS_FILE')
    .option('--json', 'the file as it is')
    .action((options: { file?: string; json?: boolean }) =>
      tellFailure(async () => {
        const policy = await readPolicyFile(options.file ?? loadCallersFile());
        console.log(options.json === true ? JSON.stringify(policy) : renderCallers(policy));
      }),
    );
  command
    .command('remove <name>')
    .description('remove a caller, or one of its keys')
    .option('--key <hash>', 'only the key whose hash begins so')
    .option('--file <path>', 'instead of CALLERS_FILE')
    .action((name: string, options: { key?: string; file?: string }) =>
      tellFailure(async () => {
        const path = options.file ?? loadCallersFile();
        await editPolicyFile(path, (policy) => removeCaller(policy, name, options.key));
        const what = options.key === undefined ? name : `a key of ${name}`;
        console.error(`Removed ${what} from ${path}. Gateways refuse it within seconds.`);
      }),
    );
  return command;
}

async function add(name: string, options: AddOptions): Promise<void> {
  const { match } = options;
  const path = options.file ?? loadCallersFile();
  const key = match.length > 0 ? undefined : createKey();
  await editPolicyFile(path, (policy) =>
    addCaller(policy, {
      name,
      scopes: options.scopes,
      tenants: options.tenants,
      match,
      keyHash: key === undefined ? undefined : keyHashOf(key),
    }),
  );
  const next = key === undefined ? '' : ' Its key follows, and is shown only now:';
  console.error(`${name} is in ${path}.${next}`);
  if (key !== undefined) console.log(key);
}

function readScopes(list: string): Scope[] {
  return itemsOf(list).map((item) => {
    const scope = scopes.find((each) => each === item);
    if (scope === undefined) throw new InvalidArgumentError(`It takes ${scopes.join(', ')}.`);
    return scope;
  });
}

function readTenants(list: string): '*' | string[] {
  return list.trim() === '*' ? '*' : itemsOf(list);
}

function itemsOf(list: string): string[] {
  const items = [...new Set(list.split(/[\s,]+/).filter((item) => item !== ''))];
  if (items.length === 0) throw new InvalidArgumentError('It is empty.');
  return items;
}

async function tellFailure(act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    console.error(readableError(error));
    process.exitCode = 1;
  }
}
