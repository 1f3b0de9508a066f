// SPDX-License-Identifier: Apache-2.0

import { AnnotationQuery, AnnotationSupport } from '@grafana/data';

import { AnnotationEditor } from './components/QueryEditor';
import { TcpsloQuery } from './types';

/** annotationSupport marks the regions of time in which an SLO burned too fast: queries are of type breaches. */
export const annotationSupport: AnnotationSupport<TcpsloQuery, AnnotationQuery<TcpsloQuery>> = {
  QueryEditor: AnnotationEditor,
  getDefaultQuery: () => ({ queryType: 'breaches' }),
  prepareQuery: (annotation) => ({ refId: 'Anno', ...annotation.target, queryType: 'breaches' }),
};
