// SPDX-License-Identifier: Apache-2.0

import { DataSourceInstanceSettings, ScopedVars } from '@grafana/data';
import { DataSourceWithBackend, getTemplateSrv, TemplateSrv } from '@grafana/runtime';

import { annotationSupport } from './annotations';
import { expand } from './interpolate';
import { DEFAULT_TYPE, displayText, withoutEmpty } from './querytypes';
import { Settings, TcpsloQuery, Values } from './types';
import { TcpsloVariableSupport } from './variables';

/** TcpsloDataSource asks the plugin's backend; what it does itself is to replace template variables. */
export class TcpsloDataSource extends DataSourceWithBackend<TcpsloQuery, Settings> {
  readonly settings: Settings;

  constructor(
    instance: DataSourceInstanceSettings<Settings>,
    private readonly templates: TemplateSrv = getTemplateSrv()
  ) {
    super(instance);
    this.settings = instance.jsonData;
    this.annotations = annotationSupport;
    this.variables = new TcpsloVariableSupport(this);
  }

  getDefaultQuery(): Partial<TcpsloQuery> {
    return { queryType: DEFAULT_TYPE };
  }

  /** getQueryDisplayText is what Explore's history and a collapsed query show. */
  getQueryDisplayText(query: TcpsloQuery): string {
    return displayText(query);
  }

  applyTemplateVariables(query: TcpsloQuery, scoped: ScopedVars): TcpsloQuery {
    const list = (texts?: string[]) => texts && expand(texts, this.templates, scoped);
    const text = (value?: string) => value && this.templates.replace(value, scoped);
    return withoutEmpty({
      ...query,
      services: list(query.services),
      slos: list(query.slos),
      paths: list(query.paths),
      listeners: list(query.listeners),
      netns: text(query.netns),
      exporter: text(query.exporter),
    });
  }

  /** values lists the names that there are, those of some services alone if any are given. */
  async values(kind: Values, services: string[] = [], scoped: ScopedVars = {}): Promise<string[]> {
    const params = { service: expand(services, this.templates, scoped) };
    return this.getResource<string[]>(kind, params, { showErrorAlert: false }); // whoever asks shows the error in its place
  }

  /** variableNames lists the dashboard's variables as they are written in a query: $service. */
  variableNames(): string[] {
    return this.templates.getVariables().map((variable) => `$${variable.name}`);
  }
}
