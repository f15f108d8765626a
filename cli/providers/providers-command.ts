import { readFile, writeFile } from 'node:fs/promises';
import { Command, Option } from 'commander';
import { parse } from 'yaml';
import type { ProviderDescription } from '../../connections/provider-directory.ts';
import { createProviderDirectory } from '../../oauth/provider-directory.ts';
import { loadProvidersFile } from '../../platform/load-providers-file.ts';
import { readProviders } from '../load-providers.ts';
import { renderTable, type Column } from '../operations/render.ts';
import { readableError } from '../readable-error.ts';
import { convertNango } from './convert-nango.ts';
import { lintProviders } from './lint-providers.ts';

const importHelp = `
Reads your own copy of a providers file and writes definitions for PROVIDERS_FILE; what it could not express is told
on standard error, for you to look at. Rotation classes and error rules are not in such a file.

  token-manager providers import --from nango providers.yaml --output providers.json`;

const columns: Column<ProviderDescription>[] = [
  ['NAME', ({ name }) => name],
  ['ROTATION', ({ rotation }) => rotation.class],
  ['CLIENT AUTH', ({ clientAuth }) => clientAuth],
  ['TOKEN URL', ({ tokenUrl }) => tokenUrl],
];

interface ImportOptions {
  only?: string[];
  output?: string;
}

/** `token-manager providers`: the catalogue, and files of further definitions. */
export function createProvidersCommand(): Command {
  const command = new Command('providers').description(
    'provider definitions: the catalogue with PROVIDERS_FILE, and such files',
  );
  command
    .command('list')
    .description('the providers there are')
    .option('--file <path>', 'with the definitions of that file')
    .option('--json', 'as JSON')
    .action((options: { file?: string; json?: boolean }) =>
      tellFailure(() => {
        const providers = directoryOf(options.file).list();
        if (options.json === true) {
          console.log(JSON.stringify(providers.map(({ name }) => name)));
          return;
        }
        console.log(renderTable(providers, columns, 'There are no providers.'));
      }),
    );
  command
    .command('show <name>')
    .description('one definition as it was written, with defaults')
    .option('--file <path>', 'with the definitions of that file')
    .action((name: string, options: { file?: string }) =>
      tellFailure(() => {
        const written = readProviders(options.file ?? loadProvidersFile()).providers.written(name);
        if (written === undefined) {
          throw new Error(
            `There is no provider ${name}: \`token-manager providers list\` names them.`,
          );
        }
        console.log(JSON.stringify(written, null, 2));
      }),
    );
  command
    .command('lint <file>')
    .description('check a file of definitions, as PROVIDERS_FILE takes it')
    .action((file: string) =>
      tellFailure(async () => {
        const { faults, warnings } = lintProviders(
          parseDefinitions(await readFile(file, 'utf8'), file),
        );
        for (const warning of warnings) console.error(`warning: ${warning}`);
        for (const fault of faults) console.error(`fault: ${fault}`);
        if (faults.length > 0) process.exitCode = 1;
        else console.log(`${file} has no faults.`);
      }),
    );
  command
    .command('import <file>')
    .description("convert your own copy of another project's providers file")
    .addOption(
      new Option('--from <format>', 'what wrote the file').choices(['nango']).makeOptionMandatory(),
    )
    .option('--only <name...>', 'these providers and no others')
    .option('--output <file>', 'write the definitions there and not to standard output')
    .addHelpText('after', importHelp)
    .action((file: string, options: ImportOptions) => tellFailure(() => importFile(file, options)));
  return command;
}

async function importFile(file: string, { only, output }: ImportOptions): Promise<void> {
  const converted = convertNango(parseYaml(await readFile(file, 'utf8'), file));
  const missing = only?.filter((name) => !converted.some((each) => each.name === name)) ?? [];
  if (missing.length > 0) throw new Error(`${file} has no provider ${missing.join(', ')}.`);
  const definitions: Record<string, unknown> = {};
  let leftOut = 0;
  for (const { name, definition, notes } of converted) {
    if (only?.includes(name) === false) continue;
    const { faults, warnings } =
      definition === undefined
        ? { faults: [], warnings: [] }
        : lintProviders({ [name]: definition });
    if (definition === undefined || faults.length > 0) leftOut += 1;
    else definitions[name] = definition;
    const told = definition === undefined || faults.length > 0 ? 'left out, ' : '';
    for (const text of [...faults, ...notes, ...warnings]) console.error(`${name}: ${told}${text}`);
  }
  const text = `${JSON.stringify(definitions, null, 2)}\n`;
  if (output === undefined) process.stdout.write(text);
  else await writeFile(output, text);
  console.error(`${Object.keys(definitions).length} definitions; ${leftOut} providers left out.`);
}

function directoryOf(file: string | undefined) {
  return createProviderDirectory(readProviders(file ?? loadProvidersFile()).providers);
}

function parseDefinitions(text: string, file: string): Record<string, unknown> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new Error(`${file} is not JSON: ${error instanceof Error ? error.message : ''}`, {
      cause: error,
    });
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new Error(`${file} must hold a JSON object of definitions by name.`);
  }
  return json as Record<string, unknown>;
}

function parseYaml(text: string, file: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    throw new Error(`${file} is not YAML: ${error instanceof Error ? error.message : ''}`, {
      cause: error,
    });
  }
}

async function tellFailure(act: () => Promise<void> | void): Promise<void> {
  try {
    await act();
  } catch (error) {
    console.error(readableError(error));
    process.exitCode = 1;
  }
}
