-- MIMIC-IV 2.2 to 3.1: the CSV files of hosp and icu, as PhysioNet gives them. The codes are those of MIMIC_IV_MEDS 0.2.0.
-- needs: patients, admissions
-- Left out: chartevents, free text. A file that you remove from the folder is left out too.

INSERT INTO events SELECT subject_id, NULL, 'GENDER//' || gender, NULL FROM patients;
INSERT INTO events
SELECT subject_id, make_timestamp(CAST(anchor_year AS BIGINT) - CAST(anchor_age AS BIGINT), 1, 1, 0, 0, 0), 'MEDS_BIRTH', NULL
FROM patients;

-- Stays.
INSERT INTO events
SELECT subject_id, CAST(admittime AS TIMESTAMP),
    concat_ws('//', 'HOSPITAL_ADMISSION', admission_type, coalesce(admission_location, 'UNK')), NULL
FROM admissions;
INSERT INTO events
SELECT subject_id, CAST(admittime AS TIMESTAMP), upper(kind) || '//' || value, NULL
FROM (UNPIVOT admissions ON insurance, language, marital_status, race INTO NAME kind VALUE value);
INSERT INTO events SELECT subject_id, CAST(edregtime AS TIMESTAMP), 'ED_REGISTRATION', NULL FROM admissions WHERE edregtime IS NOT NULL;
INSERT INTO events SELECT subject_id, CAST(edouttime AS TIMESTAMP), 'ED_OUT', NULL FROM admissions WHERE edouttime IS NOT NULL;
INSERT INTO events
SELECT subject_id, CAST(intime AS TIMESTAMP), concat_ws('//', 'TRANSFER_TO', eventtype, coalesce(careunit, 'UNK')), NULL FROM transfers;
INSERT INTO events SELECT subject_id, CAST(intime AS TIMESTAMP), 'ICU_ADMISSION//' || first_careunit, NULL FROM icustays;
INSERT INTO events
SELECT subject_id, CAST(outtime AS TIMESTAMP), 'ICU_DISCHARGE//' || last_careunit, NULL FROM icustays WHERE outtime IS NOT NULL;

-- Laboratory: when the specimen was taken, and when its result was there.
INSERT INTO events
SELECT subject_id, CAST(charttime AS TIMESTAMP), concat_ws('//', 'LAB', 'SPECIMEN_COLLECTED', itemid, coalesce(priority, 'UNK')), NULL
FROM labevents;
INSERT INTO events
SELECT subject_id, CAST(storetime AS TIMESTAMP), concat_ws('//', 'LAB', 'RESULT', itemid, coalesce(valueuom, 'UNK')), TRY_CAST(valuenum AS FLOAT)
FROM labevents WHERE storetime IS NOT NULL;

-- Drugs as the pharmacy gave them out; the national drug code is the prescription's.
CREATE TEMP TABLE ndc (pharmacy_id VARCHAR, ndc VARCHAR);
INSERT INTO ndc
SELECT pharmacy_id, any_value(ndc) AS ndc FROM prescriptions WHERE drug_type = 'MAIN' AND ndc != '0' GROUP BY pharmacy_id;
INSERT INTO events
SELECT subject_id, CAST(starttime AS TIMESTAMP), concat_ws('//', 'MEDICATION', 'START', coalesce(medication, 'UNK'), coalesce(ndc, 'UNK')), NULL
FROM pharmacy LEFT JOIN ndc USING (pharmacy_id) WHERE starttime IS NOT NULL;
INSERT INTO events
SELECT subject_id, CAST(stoptime AS TIMESTAMP), concat_ws('//', 'MEDICATION', 'STOP', coalesce(medication, 'UNK'), coalesce(ndc, 'UNK')), NULL
FROM pharmacy LEFT JOIN ndc USING (pharmacy_id) WHERE stoptime IS NOT NULL;
INSERT INTO events
SELECT subject_id, CAST(charttime AS TIMESTAMP), concat_ws('//', 'MEDICATION', coalesce(medication, 'UNK'), coalesce(event_txt, 'UNK'), coalesce(ndc, 'UNK')), NULL
FROM emar LEFT JOIN ndc USING (pharmacy_id);

INSERT INTO events SELECT subject_id, CAST(chartdate AS TIMESTAMP), result_name, NULL FROM omr;
INSERT INTO events SELECT subject_id, CAST(chartdate AS TIMESTAMP), 'HCPCS//' || coalesce(short_description, 'UNK'), NULL FROM hcpcsevents;

-- Intensive care.
INSERT INTO events SELECT subject_id, CAST(starttime AS TIMESTAMP), 'PROCEDURE//START//' || itemid, NULL FROM procedureevents;
INSERT INTO events SELECT subject_id, CAST(endtime AS TIMESTAMP), 'PROCEDURE//END//' || itemid, NULL FROM procedureevents;
INSERT INTO events SELECT subject_id, CAST(starttime AS TIMESTAMP), 'INFUSION_START//' || itemid, TRY_CAST(rate AS FLOAT) FROM inputevents;
INSERT INTO events SELECT subject_id, CAST(endtime AS TIMESTAMP), 'INFUSION_END//' || itemid, TRY_CAST(amount AS FLOAT) FROM inputevents;
INSERT INTO events
SELECT DISTINCT subject_id, CAST(starttime AS TIMESTAMP), 'SUBJECT_WEIGHT_AT_INFUSION//KG', TRY_CAST(patientweight AS FLOAT) FROM inputevents;
INSERT INTO events
SELECT subject_id, CAST(charttime AS TIMESTAMP), concat_ws('//', 'SUBJECT_FLUID_OUTPUT', itemid, coalesce(valueuom, 'UNK')), TRY_CAST(value AS FLOAT)
FROM outputevents;

-- Coded at discharge.
INSERT INTO events
SELECT d.subject_id, CAST(dischtime AS TIMESTAMP), concat_ws('//', 'DIAGNOSIS', 'ICD', icd_version, icd_code), NULL
FROM diagnoses_icd AS d JOIN admissions USING (hadm_id) ORDER BY hadm_id, CAST(seq_num AS INTEGER);
INSERT INTO events
SELECT p.subject_id, CAST(dischtime AS TIMESTAMP), concat_ws('//', 'PROCEDURE', 'ICD', icd_version, icd_code), NULL
FROM procedures_icd AS p JOIN admissions USING (hadm_id) ORDER BY hadm_id, CAST(seq_num AS INTEGER);
INSERT INTO events
SELECT d.subject_id, CAST(dischtime AS TIMESTAMP), concat_ws('//', 'DRG', drg_type, CAST(drg_code AS INTEGER)), NULL
FROM drgcodes AS d JOIN admissions USING (hadm_id);
INSERT INTO events
SELECT subject_id, CAST(dischtime AS TIMESTAMP), 'HOSPITAL_DISCHARGE//' || coalesce(discharge_location, 'UNK'), NULL FROM admissions;

-- The hour of death is known where it was in the hospital, else the day.
INSERT INTO events
SELECT subject_id, coalesce(min(CAST(deathtime AS TIMESTAMP)), any_value(CAST(dod AS TIMESTAMP))), 'MEDS_DEATH', NULL
FROM patients LEFT JOIN admissions USING (subject_id) WHERE deathtime IS NOT NULL OR dod IS NOT NULL GROUP BY subject_id;

INSERT INTO labels
SELECT code, label FROM (SELECT DISTINCT code FROM events WHERE code LIKE 'LAB//%') JOIN d_labitems ON itemid = split_part(code, '//', 3);
INSERT INTO labels
SELECT concat_ws('//', 'DIAGNOSIS', 'ICD', icd_version, icd_code), long_title FROM d_icd_diagnoses;
INSERT INTO labels
SELECT concat_ws('//', 'PROCEDURE', 'ICD', icd_version, icd_code), long_title FROM d_icd_procedures;
INSERT INTO labels
SELECT code, label FROM (SELECT DISTINCT code FROM events WHERE regexp_matches(code, '^(PROCEDURE//(START|END)|INFUSION_|SUBJECT_FLUID)'))
JOIN d_items ON itemid = regexp_extract(code, '\d+');
